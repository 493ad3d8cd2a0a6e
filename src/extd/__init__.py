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
    from extd.pipeline import Report, crop_image, detect_animation, detect_image, detect_video

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
    "extd.blur": ("BlurOptions", "blur_animation", "blur_image", "blur_images", "blur_video"),
    "extd.detector": ("Detector", "Options", "detect"),
    "extd.faces": ("Face", "Faces"),
    "extd.images": ("read_image",),
    "extd.media.annotate": ("annotate",),
    "extd.media.anonymize": ("AnonymizeOptions", "anonymize"),
    "extd.media.crops": ("crops",),
    "extd.media.frames": ("open_source",),
    "extd.media.recorded": ("read_faces",),
    "extd.media.tracking": ("track",),
    "extd.media.video": ("Fault", "Frame", "Span", "open_video"),
    "extd.media.videowriter": ("VideoOptions", "write_video"),
    "extd.media.writers": ("write",),
    "extd.pipeline": ("Report", "crop_image", "detect_animation", "detect_image", "detect_video"),
}


if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # Loaded on first use: `extd --help` needs no ONNX Runtime.
        for module, names in _HOMES.items():
            if name in names:
                value: object = getattr(importlib.import_module(module), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'extd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
