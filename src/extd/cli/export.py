"""`extd export`: trained weights as the ONNX file that detects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from extd.cli.terminal import check_suffix, report_file, train_extra


def export(
    source: Path,
    target: Path,
    /,
    *,
    votes: Annotated[bool | None, Parameter(negative="--no-votes")] = None,
) -> int:
    """Export weights to ONNX.

    Options take the result wherever they take the name of a model, as in `--model model.onnx`.
    Needs PyTorch, which the first of these commands installs.

        pip install "extd[train]"
        extd export model.safetensors model.onnx

    Args:
        source: A .safetensors file of `extd train` or `extd convert`.
        target: The .onnx file to write.
        votes: Whether overlapping boxes are averaged; by default those of EXTD-Lite, but not of
            the paper's models.
    """
    check_suffix(target, ".onnx")
    with train_extra("extd export"):
        from extd.models.export import export_file

        export_file(source, target, votes=votes)
    report_file(target)
    return 0
