"""`extd export`: trained weights as the ONNX file that detects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from extd.cli.terminal import (
    UsageError,
    check_suffix,
    report_file,
    train_extra,
)

if TYPE_CHECKING:
    from extd.images import Image


def export(
    source: Path,
    target: Path,
    /,
    *,
    votes: Annotated[bool | None, Parameter(negative="--no-votes")] = None,
    decoded: Annotated[bool, Parameter(show_default=False)] = False,
    int8: Annotated[bool, Parameter(show_default=False)] = False,
    calibrate: Path | None = None,
) -> int:
    """Export weights to ONNX.

    Use the result wherever a model's name is accepted, as in `--model model.onnx`.
    Needs PyTorch, which the first of these commands installs.

        pip install "extd[train]"
        extd export model.safetensors model.onnx
        extd export model.safetensors model.onnx --int8 --calibrate faces/labels.jsonl

    Args:
        source: A .safetensors file of `extd train` or `extd convert`.
        target: The .onnx file to write.
        votes: Whether overlapping boxes are averaged; by default those of EXTD-Lite, but not of
            the paper's models.
        decoded: For other programs: outputs are boxes, scores and landmarks in pixels. Without
            it, the output of EXTD-Lite is raw and only extd can read it, which is faster because
            only likely faces are decoded.
        int8: Quantize EXTD-Lite to int8, for processors with VNNI or Arm dot products; on others
            it is slower and may be less accurate.
        calibrate: Labels or a folder of images like those you will run it on; up to 100 of them
            set the int8 ranges. Needed for --int8.
    """
    check_suffix(target, ".onnx")
    if int8 and (decoded or calibrate is None):
        raise UsageError(
            "--int8 needs --calibrate LABELS_OR_FOLDER and cannot be combined with --decoded"
        )
    if calibrate is not None and not int8:
        raise UsageError("--calibrate is for --int8")
    with train_extra("extd export"):
        from extd.models.export import export_onnx
        from extd.models.network import load_network
        from extd.models.quantize import export_int8

        network, notes = load_network(source)
        if calibrate is None:
            export_onnx(network, target, notes, votes=votes, decoded=decoded)
        else:
            export_int8(network, target, calibration_images(calibrate), notes, votes=votes)
    report_file(target)
    return 0


def calibration_images(path: Path, count: int = 100) -> Iterator[Image]:
    """Some images of a labeled set or folder, chosen evenly.

    Raises:
        FileNotFoundError: there is no such set or folder.
        ValueError: it has no images, or one is broken.
    """
    from extd.data.datasets import FORMATS, read_dataset
    from extd.images import read_image
    from extd.media.sources import find_images

    if path.is_dir() and not any(one.find(path) for one in FORMATS.values()):
        paths = [source.path for source in find_images([str(path)])]
    else:
        paths = [sample.path for sample in read_dataset(path)]
    for place in sorted({len(paths) * number // count for number in range(count)} if paths else ()):
        yield read_image(paths[place])
