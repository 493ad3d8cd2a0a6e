"""EXTD, a tiny face detector (arXiv 1906.06579).

>>> from extd import Detector
>>> for face in Detector().detect("photo.jpg"):
...     print(face.box, face.score)
"""

from extd.detector import Detector, Options
from extd.faces import Face, Faces
from extd.images import read_image

__version__ = "0.1.0"
__all__ = ["Detector", "Face", "Faces", "Options", "__version__", "read_image"]
