"""The 18 detectors of the paper as values (section 3, Table 1). No torch here."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

Neck = Literal["fpn", "ssd"]
Activation = Literal["prelu", "leakyrelu", "relu"]

WIDTHS = (32, 48, 64)
MEAN = (123.0, 117.0, 104.0)
"""RGB mean subtracted from pictures of 0 to 255; there is no further scaling."""

STRIDES = (4, 8, 16, 32, 64, 128)
ANCHOR_SIZES = (16, 32, 64, 128, 256, 512)
"""One square anchor a cell, four strides wide (S3FD, table 1)."""
VARIANCES = (0.1, 0.2)
"""Scale of the regressed centre and log size (SSD)."""


@dataclass(frozen=True, slots=True)
class ExtdConfig:
    """One network of the family.

    Attributes:
        neck: `fpn` upsamples and adds the maps before the heads (figure 2b); `ssd` reads them
            directly (figure 2a).
        width: channels C of every feature map: 32, 48 or 64.
        activation: `prelu` (one learned slope a layer), `leakyrelu` (slope 0.25) or `relu`.
        norm_per_pass: give each of the six passes through F its own batch norm while the
            convolutions stay shared. The paper's nets share one set of statistics.
    """

    neck: Neck = "fpn"
    width: int = 32
    activation: Activation = "prelu"
    norm_per_pass: bool = False

    def __post_init__(self) -> None:
        for field, value, allowed in (
            ("neck", self.neck, get_args(Neck)),
            ("width", self.width, WIDTHS),
            ("activation", self.activation, get_args(Activation)),
        ):
            if value not in allowed:
                raise ValueError(f"{field} is {value!r}; choose one of {allowed}")

    @property
    def name(self) -> str:
        """The paper's name, as in `extd-fpn-32-prelu`; `-passnorm` marks a batch norm a pass."""
        suffix = "-passnorm" if self.norm_per_pass else ""
        return f"extd-{self.neck}-{self.width}-{self.activation}{suffix}"

    @property
    def expansions(self) -> tuple[int, ...]:
        """Expansion of each inverted residual block of F (section 3.2); the last has stride 2."""
        return (2, 2, 4, 4, 2, 2) if self.width == 32 else (2, 2, 4, 4)

    @property
    def activated_projection(self) -> bool:
        """Whether a block also activates its linear projection: width 32 alone does."""
        return self.width == 32


PAPER_CONFIGS = tuple(
    ExtdConfig(neck, width, activation)
    for neck in get_args(Neck)
    for width in WIDTHS
    for activation in get_args(Activation)
)
"""Every detector of Table 1."""


def parse_name(name: str) -> ExtdConfig:
    """The configuration that a model name stands for, in any letter case.

    Raises:
        ValueError: the name is not of the family; the message gives the nearest one that is.
    """
    match = re.fullmatch(
        r"extd-(fpn|ssd)-(32|48|64)-(prelu|leakyrelu|relu)(-passnorm)?", name.lower()
    )
    if match is None:
        names = [config.name for config in PAPER_CONFIGS]
        nearest = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0)
        raise ValueError(f"there is no model {name!r}; did you mean {nearest[0]!r}?")
    neck, width, activation = match.group(1, 2, 3)
    return ExtdConfig(
        cast("Neck", neck), int(width), cast("Activation", activation), match.group(4) is not None
    )
