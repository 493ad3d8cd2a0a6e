"""The base install finds a face without torch; run by the Python that has it."""

import sys
from importlib.util import find_spec
from pathlib import Path

from extd import Detector

faces = Detector().detect(Path("examples/astronaut.jpg"))
if len(faces) != 1:
    sys.exit(f"examples/astronaut.jpg shows 1 face, but {len(faces)} were found")
for package in ("torch", "onnx", "scipy", "PIL"):
    if find_spec(package):
        sys.exit(f"the base install brought {package}; see dependencies in pyproject.toml")
