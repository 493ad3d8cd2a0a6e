"""`extd convert` and `extd export`: from the authors' checkpoints to safetensors, and to ONNX."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from extd.cli.terminal import UsageError, print_line
from extd.data.datasets import FORMATS, read_dataset
from extd.media.sources import find_images
from extd.models.config import Upsampling
from extd.pixels import Image

THRESHOLD = Parameter(show_default="0.5", validator=Number(gte=0, lt=1))


def convert(source: Path, target: Path, /, *, upsampling: Upsampling = "fit") -> int:
    """Convert a checkpoint of the paper's authors.

    `extd export` turns the result into a file that detects. Needs PyTorch, which the first of
    these commands installs.

        pip install "extd[train]"
        extd convert EXTD_64.pth model.safetensors --upsampling double

    Args:
        source: EXTD_32.pth, EXTD_48.pth or EXTD_64.pth.
        target: The .safetensors file to write.
        upsampling: fit computes what the authors' code does. double finds more faces in images
            whose sides are not multiples of 128 (docs/paper.md), and the same in others.
    """
    check_suffix(target, ".safetensors")
    from extd.models import network

    network.convert(source, target, upsampling)
    print_line(f"written: {target}, {target.stat().st_size / 1e3:,.0f} kB")
    return 0


def export(
    source: Path,
    target: Path,
    /,
    *,
    box_voting: Annotated[bool | None, Parameter(negative="--no-box-voting")] = None,
    decoded: bool = False,
    int8: bool = False,
    calibrate: Path | None = None,
    threshold: Annotated[float | None, THRESHOLD] = None,
) -> int:
    """Export weights to ONNX, or store a threshold in an ONNX file.

    Use the result as in `--model model.onnx`. Needs PyTorch, which the first command installs.

        pip install "extd[train]"
        extd export model.safetensors model.onnx
        extd export model.safetensors model.onnx --int8 --calibrate faces/labels.jsonl
        extd export model.onnx model.onnx --threshold 0.37

    Args:
        source: A .safetensors file, or an .onnx file to store a threshold in.
        target: The .onnx file to write.
        box_voting: Whether overlapping boxes are averaged; by default those of EXTD-Lite, but not
            those of the paper's models.
        decoded: For other programs: outputs are boxes, scores and landmarks in pixels. Without
            it, the output of EXTD-Lite is raw and only extd can read it, which is faster because
            only likely faces are decoded.
        int8: Quantize EXTD-Lite to int8, for processors with VNNI or Arm dot products; on others
            it is slower and may be less accurate.
        calibrate: Labels or a folder of images like those you will run it on; up to 100 of them
            set the int8 ranges. Needed for --int8.
        threshold: Store this least probability of a face in the file. Commands that are given no
            --threshold use it; `extd eval labels --min-precision 0.95` suggests one.
    """
    check_suffix(target, ".onnx")
    if int8 and (decoded or calibrate is None):
        raise UsageError(
            "--int8 needs --calibrate LABELS_OR_FOLDER and cannot be combined with --decoded"
        )
    if calibrate is not None and not int8:
        raise UsageError("--calibrate is for --int8")
    if source.suffix.lower() == ".onnx":
        if threshold is None or int8 or decoded or box_voting is not None:
            raise UsageError(f"{source} is exported; all that can be changed is its --threshold")
        return store(source, target, threshold)
    from extd.models.export import export_onnx
    from extd.models.network import load_network
    from extd.models.quantize import export_int8

    network, loaded = load_network(source)
    notes = loaded if threshold is None else {**loaded, "threshold": threshold}
    if calibrate is None:
        export_onnx(network, target, notes, box_voting=box_voting, decoded=decoded)
    else:
        export_int8(network, target, calibration_images(calibrate), notes, box_voting=box_voting)
    print_line(f"written: {target}, {target.stat().st_size / 1e3:,.0f} kB")
    return 0


def store(source: Path, target: Path, threshold: float) -> int:
    """Store a threshold in an ONNX file."""
    from extd.models.export import store_threshold

    store_threshold(source, target, threshold)
    print_line(f"written: {target}, with a threshold of {threshold:g}")
    return 0


def calibration_images(path: Path) -> Iterator[Image]:
    """Some images of a labeled set or folder."""
    from extd.models.quantize import read_evenly

    if path.is_dir() and not any(one.find(path) for one in FORMATS.values()):
        return read_evenly([source.path for source in find_images([str(path)])])
    return read_evenly([sample.path for sample in read_dataset(path)])


def check_suffix(target: Path, suffix: str) -> None:
    """Refuse a file name with another suffix."""
    if target.suffix.lower() != suffix:
        raise UsageError(
            f"the result is a {suffix} file; call it {target.with_suffix(suffix)}, not {target}"
        )
