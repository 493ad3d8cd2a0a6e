"""The base install finds a face without torch; run by the Python that has it."""

import sys
from importlib.util import find_spec
from pathlib import Path

from extd import Detector

faces = Detector().detect(Path("examples/astronaut.jpg"))
if not len(faces):
    sys.exit("examples/astronaut.jpg shows a face, but none was found")
for package in ("torch", "onnx", "scipy", "av", "cv2"):
    if find_spec(package):
        sys.exit(f"the base install brought {package}; see dependencies in pyproject.toml")
