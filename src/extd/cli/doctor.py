"""`extd doctor`: whether detection works on this machine."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections import Counter
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter
from rich.console import Console

from extd import __version__
from extd.boxes import iou
from extd.catalog import DEFAULT_MODEL, PACKAGE, load_catalog
from extd.cli.terminal import print_error, print_line, print_note
from extd.cpu import cores, has_int8

# Where ONNX Runtime cannot be imported, this command tells why: it is imported late.
if TYPE_CHECKING:
    from extd.detector import Detector

IMAGE = PACKAGE / "assets" / "selfcheck.jpg"
FACE = (112.0, 57.0, 206.0, 173.0)
"""The face of `IMAGE`: x1, y1, x2, y2 in pixels."""
MIN_IOU = 0.5

PACKAGES = (
    *("numpy", "pillow", "onnxruntime", "av", "pillow-heif", "scipy", "pyyaml", "torch"),
    *("opencv-python-headless", "safetensors", "pydantic", "onnx", "onnxscript"),
)
RIVALS = ("onnxruntime", "cv2")
"""Modules that several packages install, each over the others' files."""
CPU_FEATURES = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
"""Instructions that speed up networks, by their names in Linux."""


def doctor(*, model: Annotated[str, Parameter(metavar="NAME|FILE")] = DEFAULT_MODEL) -> int:
    """Check that detection works on this machine.

    Prints versions, processor features and what share of the network each provider of ONNX
    Runtime really runs, and detects the one face of a built-in image. The exit code is 1 if that
    fails. A note names packages that overwrite each other's files.

    Args:
        model: A model that `extd models` lists, or an .onnx file.
    """
    several = packages_distributions()
    lines = {
        "extd": __version__,
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "processor": f"{platform.machine()}, {cores()} of {os.cpu_count()} cores, {cpu_features()}",
    }
    for name in PACKAGES:
        module = "cv2" if name.startswith("opencv") else name
        # The packages of a module differ in their builds, as for GPUs.
        for package in sorted(set(several.get(module, [name]))):
            lines[package] = installed_version(package)
    for what, value in lines.items():
        print_line(f"{what:22} {value}")
    for module in RIVALS:
        if len(rivals := sorted(set(several.get(module, [])))) > 1:
            print_note(
                f"{' and '.join(rivals)} overwrite each other's module {module}; "
                f"run: pip uninstall {' '.join(rivals)}, then install one of them",
                Console(stderr=True),
            )
    try:
        check_detection(model)
    except (AttributeError, ImportError, OSError, ValueError) as error:
        print_error(f"the self-check failed: {error}")
        return 1
    return 0


def check_detection(model: str) -> None:
    """Print what runs the model here, and whether it finds the face; an error if it does not."""
    import onnxruntime as ort

    from extd.detector import Detector
    from extd.runtime import short_name

    detector = Detector(model)
    for provider in ort.get_available_providers():
        report = provider_report(provider, detector.network.content)
        hint = f" (--provider {short_name(provider)})" if report.startswith("works") else ""
        print_line(f"{provider}: {report}{hint}")
    overlap = find_overlap(detector)
    print_line(f"{model} runs in {detector.network.precision}: {precision_reason(model)}")
    print_line(f"self-check: {model} finds the face, IoU {overlap:.2f}")


def precision_reason(model: str) -> str:
    """Why a model runs in int8 or float on this machine."""
    if Path(model).suffix:
        return "so is the file"
    weights = {one.name: one.weights for one in load_catalog()}[model.lower()]
    if weights is None or weights.int8 is None:
        return "it ships with float weights alone"
    return "this processor is faster in int8" if has_int8() else "this processor lacks int8 units"


def find_overlap(detector: Detector) -> float:
    """IoU between the best box in the built-in image and the true one; an error if it is low."""
    faces = detector.detect(IMAGE.read_bytes())
    overlap = float(iou(faces.boxes[:1], np.array([FACE], np.float32)).max(initial=0))
    if overlap < MIN_IOU:
        name = detector.network.name
        raise ValueError(f"{name} finds {len(faces)} faces, none of them at {FACE}")
    return overlap


def provider_report(provider: str, network: bytes) -> str:
    """Whether an ONNX Runtime provider runs a network, and how much of it.

    ONNX Runtime silently runs on the CPU what a provider cannot; only its profile shows it.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        try:
            session = ort.InferenceSession(network, options, providers=[provider])
            (images,) = session.get_inputs()
            raw = images.name == "patches"
            shape, kind = ((1, 32, 32, 48), np.uint8) if raw else ((1, 3, 128, 128), np.float32)
            session.run(None, {images.name: np.zeros(shape, kind)})
            profile = Path(session.end_profiling()).read_text("utf-8")
        except Exception as error:  # noqa: BLE001 - each provider has errors of its own
            return f"fails: {error}"
    nodes = (event["args"] for event in json.loads(profile) if event["cat"] == "Node")
    runners = Counter(node["provider"] for node in nodes if "provider" in node)
    share = runners[provider] / runners.total()
    return f"works, runs {share:.0%} of the network" if share else "runs nothing of the network"


def installed_version(package: str) -> str:
    """The version of a package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_features() -> str:
    """Those of `CPU_FEATURES` that the processor has, on Linux."""
    try:
        words = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        return "features unknown"
    return " ".join(feature for feature in CPU_FEATURES if feature in words)
