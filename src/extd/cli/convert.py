"""`extd convert`: the authors' checkpoints as safetensors."""

from __future__ import annotations

from pathlib import Path

from extd.cli.terminal import check_suffix, report_file, train_extra
from extd.models.config import Upsampling


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
    with train_extra("extd convert"):
        from extd.models import network

        network.convert(source, target, upsampling)
    report_file(target)
    return 0
