"""`extd doctor`: whether detection works on this machine."""

import json
import os
import platform
import tempfile
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnxruntime as ort
import PIL

from extd import __version__
from extd.boxes import iou
from extd.catalog import DEFAULT_MODEL, PACKAGE, load_catalog
from extd.cli.inference import Model
from extd.cli.terminal import print_error, print_line
from extd.cpu import has_int8
from extd.detector import Detector

IMAGE = PACKAGE / "assets" / "selfcheck.jpg"
FACE = (112.0, 57.0, 206.0, 173.0)
"""The face of `IMAGE`: x1, y1, x2, y2 in pixels."""
MIN_IOU = 0.5

EXTRAS = ("av", "scipy", "torch", "safetensors", "pyyaml", "onnx", "onnxscript")
CPU_FEATURES = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
"""Instructions that speed up networks, by their names in Linux."""


def doctor(*, model: Model = DEFAULT_MODEL) -> int:
    """Check that detection works on this machine.

    Prints versions, processor features and what share of the network each provider of ONNX
    Runtime really runs, and detects the one face of a built-in image. The exit code is 1 if that
    fails.

    Args:
        model: A model that `extd models` lists, or an .onnx file.
    """
    for what, value in (
        ("extd", __version__),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("processor", f"{platform.machine()}, {os.cpu_count()} cores, {cpu_features()}"),
        ("numpy", np.__version__),
        ("Pillow", PIL.__version__),
        ("ONNX Runtime", ort.__version__),
        *((extra, installed_version(extra)) for extra in EXTRAS),
    ):
        print_line(f"{what:13} {value}")
    try:
        detector = Detector(model)
        for provider in ort.get_available_providers():
            print_line(f"{provider}: {provider_report(provider, detector.network.content)}")
        overlap = find_overlap(detector)
    except (ValueError, OSError) as error:
        print_error(f"the self-check failed: {error}")
        return 1
    print_line(f"{model} runs in {detector.network.precision}: {precision_reason(model)}")
    print_line(f"self-check: {model} finds the face, IoU {overlap:.2f}")
    return 0


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
