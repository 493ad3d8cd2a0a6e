"""EXTD, a tiny face detector (arXiv 1906.06579).

>>> from extd import Detector
>>> for face in Detector().detect("photo.jpg"):
...     print(face.box, face.score)
"""

import importlib
import os
import typing

if typing.TYPE_CHECKING:
    from extd.detector import Detector, Options
    from extd.faces import Face, Faces
    from extd.images import read_image
    from extd.media.annotate import annotate
    from extd.media.anonymize import AnonymizeOptions, anonymize
    from extd.media.crops import crops
    from extd.media.frame import Fault, Frame
    from extd.media.frames import open_source
    from extd.media.video import Span
    from extd.media.videowriter import write_video
    from extd.media.writers import write

# ONNX Runtime reads it once, when it is imported: nobody is to be told whose faces are covered.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = [
    "AnonymizeOptions",
    "Detector",
    "Face",
    "Faces",
    "Fault",
    "Frame",
    "Options",
    "Span",
    "__version__",
    "annotate",
    "anonymize",
    "crops",
    "open_source",
    "read_image",
    "write",
    "write_video",
]

_HOMES = {
    "AnonymizeOptions": "extd.media.anonymize",
    "Detector": "extd.detector",
    "Face": "extd.faces",
    "Faces": "extd.faces",
    "Fault": "extd.media.frame",
    "Frame": "extd.media.frame",
    "Options": "extd.detector",
    "Span": "extd.media.video",
    "annotate": "extd.media.annotate",
    "anonymize": "extd.media.anonymize",
    "crops": "extd.media.crops",
    "open_source": "extd.media.frames",
    "read_image": "extd.images",
    "write": "extd.media.writers",
    "write_video": "extd.media.videowriter",
}


if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # The command line answers --help without loading Pillow and ONNX Runtime.
        if name not in _HOMES:
            raise AttributeError(f"module 'extd' has no attribute {name!r}")
        value: object = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
