"""EXTD, a tiny face detector (arXiv 1906.06579).

>>> import extd
>>> for face in extd.detect("photo.jpg"):
...     print(face.box, face.score)
"""

import importlib
import os
import typing

if typing.TYPE_CHECKING:
    from extd.blur import BlurOptions, blur_animation, blur_image, blur_images, blur_video
    from extd.detector import Detector, Options, detect
    from extd.faces import Face, Faces
    from extd.images import read_image
    from extd.media.annotate import annotate
    from extd.media.anonymize import AnonymizeOptions, anonymize
    from extd.media.crops import crops
    from extd.media.frames import open_source
    from extd.media.recorded import read_faces
    from extd.media.tracking import track
    from extd.media.video import Fault, Frame, Span, open_video
    from extd.media.videowriter import VideoOptions, write_video
    from extd.media.writers import write
    from extd.pipeline import (
        Report,
        crop_image,
        detect_animation,
        detect_image,
        detect_video,
    )

# ONNX Runtime reads it on import. Nobody may learn whose faces are covered.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = [
    "AnonymizeOptions",
    "BlurOptions",
    "Detector",
    "Face",
    "Faces",
    "Fault",
    "Frame",
    "Options",
    "Report",
    "Span",
    "VideoOptions",
    "__version__",
    "annotate",
    "anonymize",
    "blur_animation",
    "blur_image",
    "blur_images",
    "blur_video",
    "crop_image",
    "crops",
    "detect",
    "detect_animation",
    "detect_image",
    "detect_video",
    "open_source",
    "open_video",
    "read_faces",
    "read_image",
    "track",
    "write",
    "write_video",
]

_HOMES = {
    "AnonymizeOptions": "extd.media.anonymize",
    "BlurOptions": "extd.blur",
    "Detector": "extd.detector",
    "Face": "extd.faces",
    "Faces": "extd.faces",
    "Fault": "extd.media.video",
    "Frame": "extd.media.video",
    "Options": "extd.detector",
    "Report": "extd.pipeline",
    "Span": "extd.media.video",
    "VideoOptions": "extd.media.videowriter",
    "annotate": "extd.media.annotate",
    "anonymize": "extd.media.anonymize",
    "blur_animation": "extd.blur",
    "blur_image": "extd.blur",
    "blur_images": "extd.blur",
    "blur_video": "extd.blur",
    "crop_image": "extd.pipeline",
    "crops": "extd.media.crops",
    "detect": "extd.detector",
    "detect_animation": "extd.pipeline",
    "detect_image": "extd.pipeline",
    "detect_video": "extd.pipeline",
    "open_source": "extd.media.frames",
    "open_video": "extd.media.video",
    "read_faces": "extd.media.recorded",
    "read_image": "extd.images",
    "track": "extd.media.tracking",
    "write": "extd.media.writers",
    "write_video": "extd.media.videowriter",
}


if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # Loaded on first use: `extd --help` needs no ONNX Runtime.
        if name not in _HOMES:
            raise AttributeError(f"module 'extd' has no attribute {name!r}")
        value: object = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
