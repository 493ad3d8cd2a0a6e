"""The detectors as values: the paper's 18 (section 3, Table 1) and EXTD-Lite. No torch here."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

Neck = Literal["fpn", "ssd"]
Activation = Literal["prelu", "leakyrelu", "relu"]
Block = Literal["inverted", "conv"]
Head = Literal["maxout", "joint"]
Upsampling = Literal["double", "fit"]
Backbone = Literal["vgg16", "mobilefacenet"]

WIDTHS = (32, 48, 64)
"""The paper's."""
MEAN = (123.0, 117.0, 104.0)
"""RGB mean subtracted from pictures of 0 to 255; there is no further scaling."""

LAST_STRIDE = 128
ANCHOR_SIZES = (16, 32, 64, 128, 256, 512)
"""Sides of S3FD's anchors (table 1), four strides each: also what its augmentation aims at."""
VARIANCES = (0.1, 0.2)
"""Scale of the regressed centre and log size (SSD)."""


@dataclass(frozen=True, slots=True)
class ExtdConfig:
    """One network of the family. The defaults, from `norm_per_pass` on, are the paper's.

    Attributes:
        neck: `fpn` upsamples and adds the maps before the heads (figure 2b); `ssd` reads them
            directly (figure 2a).
        width: channels C of every feature map; the paper has 32, 48 and 64.
        activation: `prelu` (one learned slope a layer), `leakyrelu` (slope 0.25) or `relu`.
        norm_per_pass: give each pass through F its own batch norm while the convolutions stay
            shared. The paper's nets share one set of statistics.
        block: what F is made of: inverted residuals (figure 3), or one 3x3 convolution each.
        expansions: of each block of F, 1 for `conv`; empty for the paper's (section 3.2).
        stride_first: the stride of F is in its first block, not in its last.
        depths: how many blocks of F, from the first, each pass runs; empty for all.
        stem: channels of the 3x3 convolutions of stride 2 that the image meets first.
        first_stride: stride of the finest map; each pass doubles it, up to 128.
        tower: how many blocks, 3x3 convolutions that all levels share, refine the maps before the
            heads.
        head: `maxout`, the paper's two convolutions a level; `joint`, one that gives a box and
            the log odds of a face.
        shared_head: all levels share one `joint` head.
        anchor_scale: side of a level's anchor, in its strides.
        upsampling: `double` enlarges a map by 2 and cuts what lies beyond the finer one; `fit`
            stretches it to the finer one's size, as the authors' code does. They differ where a
            side of the image is no multiple of 128: there `fit` adds what does not lie together.
    """

    neck: Neck = "fpn"
    width: int = 32
    activation: Activation = "prelu"
    norm_per_pass: bool = False
    block: Block = "inverted"
    expansions: tuple[int, ...] = ()
    stride_first: bool = False
    depths: tuple[int, ...] = ()
    stem: tuple[int, ...] = (64,)
    first_stride: int = 4
    tower: int = 0
    head: Head = "maxout"
    shared_head: bool = False
    anchor_scale: float = 4.0
    upsampling: Upsampling = "double"

    def __post_init__(self) -> None:
        choices: tuple[tuple[str, object, tuple[object, ...]], ...] = (
            ("neck", self.neck, get_args(Neck)),
            ("activation", self.activation, get_args(Activation)),
            ("block", self.block, get_args(Block)),
            ("first_stride", self.first_stride, (4, 8)),
            ("head", self.head, get_args(Head)),
            ("upsampling", self.upsampling, get_args(Upsampling)),
        )
        for field, choice, allowed in choices:
            if choice not in allowed:
                raise ValueError(f"{field} is {choice!r}; choose one of {allowed}")
        if not self.expansions and self.width not in WIDTHS:
            raise ValueError(f"width is {self.width!r}; choose one of {WIDTHS}, or give expansions")
        depth = len(self.block_expansions)
        for right, field, value, wanted in (
            (self.width >= 1, "width", self.width, "1 or more"),
            (min(self.stem, default=1) >= 1, "stem", self.stem, "1 or more channels each"),
            (
                min(self.expansions, default=1) >= 1
                and (self.block != "conv" or set(self.block_expansions) == {1}),
                "expansions",
                self.expansions,
                "1 for each 3x3 convolution" if self.block == "conv" else "1 or more each",
            ),
            (
                self.stem_stride in (1, 2),
                "stem",
                self.stem,
                f"{int(math.log2(self.first_stride)) - 1} convolutions, or one less",
            ),
            (
                not self.depths
                or (
                    len(self.depths) == len(self.strides)
                    and 1 <= min(self.depths) <= max(self.depths) == depth
                    and (self.stride_first or set(self.depths) == {depth})
                ),
                "depths",
                self.depths,
                f"{len(self.strides)} numbers up to {depth}, which one is, with stride_first",
            ),
            (self.tower >= 0, "tower", self.tower, "0 or more"),
            (
                not self.shared_head or self.head == "joint",
                "shared_head",
                self.shared_head,
                "false, or head: joint",
            ),
            (self.anchor_scale > 0, "anchor_scale", self.anchor_scale, "above 0"),
        ):
            if not right:
                raise ValueError(f"{field} is {value}; give {wanted}")

    @property
    def name(self) -> str:
        """As in `extd-fpn-32-prelu`, with `-passnorm` for a batch norm a pass, or `extd-lite`.

        The upsampling makes no other name. A network of no name is `extd-custom`.
        """
        plain = replace(self, upsampling="double")
        for name, config in LITE_CONFIGS.items():
            if config == plain:
                return name
        if replace(plain, norm_per_pass=False) not in PAPER_CONFIGS:
            return "extd-custom"
        suffix = "-passnorm" if self.norm_per_pass else ""
        return f"extd-{self.neck}-{self.width}-{self.activation}{suffix}"

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the maps, finest first."""
        first, last = int(math.log2(self.first_stride)), int(math.log2(LAST_STRIDE))
        return tuple(2**power for power in range(first, last + 1))

    @property
    def anchor_sizes(self) -> tuple[float, ...]:
        """Sides of the one square anchor a cell of each level, px."""
        return tuple(stride * self.anchor_scale for stride in self.strides)

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the maps that the heads read, finest first."""
        return (self.width,) * len(self.strides)

    @property
    def block_expansions(self) -> tuple[int, ...]:
        """Expansion of each block of F (section 3.2)."""
        if self.expansions:
            return self.expansions
        return (2, 2, 4, 4, 2, 2) if self.width == 32 else (2, 2, 4, 4)

    @property
    def pass_depths(self) -> tuple[int, ...]:
        """How many blocks of F each pass runs."""
        return self.depths or (len(self.block_expansions),) * len(self.strides)

    @property
    def stem_stride(self) -> int:
        """Stride of the block between the stem's convolutions and F."""
        return self.first_stride // (2 << len(self.stem))

    @property
    def activated_projection(self) -> bool:
        """Whether an inverted residual also activates its projection: the paper's width 32 does."""
        return self.width == 32


@dataclass(frozen=True, slots=True)
class S3fdConfig:
    """A baseline of the paper: S3FD, whose anchors and heads EXTD takes.

    Attributes:
        backbone: `vgg16`, as in S3FD; `mobilefacenet`, the paper's S3FD+M.
    """

    backbone: Backbone = "vgg16"

    def __post_init__(self) -> None:
        if self.backbone not in get_args(Backbone):
            raise ValueError(f"backbone is {self.backbone!r}; choose one of {get_args(Backbone)}")

    @property
    def name(self) -> str:
        """As in `s3fd-vgg16`."""
        return f"s3fd-{self.backbone}"

    @property
    def head(self) -> Head:
        """The kind of heads, as of `ExtdConfig`."""
        return "maxout"

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the maps, finest first."""
        return (4, 8, 16, 32, 64, 128)

    @property
    def anchor_sizes(self) -> tuple[float, ...]:
        """Sides of the one square anchor a cell of each level, px."""
        return tuple(map(float, ANCHOR_SIZES))

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the maps that the heads read, finest first."""
        if self.backbone == "vgg16":
            return (256, 512, 512, 1024, 512, 256)
        return (64, 128, 512, 512, 256, 256)


@dataclass(frozen=True, slots=True)
class LiteConfig:
    """A network of EXTD-Lite's second design, made for int8 arithmetic on CPUs.

    Attributes:
        width: channels C of every feature map.
        stem_width: channels of the stem's map of stride 4, before the map of stride 8.
        blocks: residual 3x3 convolutions of F, after the one of stride 2.
        tower: residual 3x3 convolutions that all levels share, before the head.
    """

    width: int = 64
    stem_width: int = 32
    blocks: int = 3
    tower: int = 1

    def __post_init__(self) -> None:
        for field, least in (("width", 1), ("stem_width", 1), ("blocks", 1), ("tower", 0)):
            value = getattr(self, field)
            if value < least:
                raise ValueError(f"{field} is {value}; give {least} or more")

    @property
    def name(self) -> str:
        """As in `extd-lite-64`; a network of no name is `extd-custom`."""
        names = (name for name, config in LITE2_CONFIGS.items() if config == self)
        return next(names, "extd-custom")

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the maps, finest first."""
        return (8, 16, 32, 64, 128)

    @property
    def anchor_sizes(self) -> tuple[float, ...]:
        """Sides of the one square anchor a cell of each level, px."""
        return tuple(4.0 * stride for stride in self.strides)

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the maps that the heads read, finest first."""
        return (self.width,) * len(self.strides)

    @property
    def head(self) -> Head:
        """The kind of heads, as of `ExtdConfig`."""
        return "joint"


NetworkConfig = ExtdConfig | LiteConfig | S3fdConfig

BASELINE_CONFIGS = tuple(S3fdConfig(backbone) for backbone in get_args(Backbone))
"""What the paper compares with."""

PAPER_CONFIGS = tuple(
    ExtdConfig(neck, width, activation)
    for neck in get_args(Neck)
    for width in WIDTHS
    for activation in get_args(Activation)
)
"""Every detector of Table 1."""


_LITE = ExtdConfig(
    "fpn",
    48,
    "leakyrelu",
    norm_per_pass=True,
    block="conv",
    expansions=(1, 1, 1, 1),
    stride_first=True,
    stem=(16,),
    first_stride=8,
    head="joint",
)
LITE_CONFIGS = {
    "extd-lite": _LITE,
    "extd-lite-nano": replace(
        _LITE, width=32, activation="relu", expansions=(1, 1, 1), tower=1, shared_head=True
    ),
}
"""The same idea made for CPUs: docs/lite.md sets it beside the paper."""


LITE2_CONFIGS = {
    "extd-lite-64": LiteConfig(),
    "extd-lite-32": LiteConfig(width=32, stem_width=16),
}
"""The second design, in training."""


def parse_name(name: str) -> NetworkConfig:
    """The configuration that a model name stands for, in any letter case.

    Raises:
        ValueError: the name is not of the family; the message gives the nearest one that is.
    """
    baselines = {config.name: config for config in BASELINE_CONFIGS}
    others: dict[str, NetworkConfig] = LITE_CONFIGS | LITE2_CONFIGS | baselines
    if name.lower() in others:
        return others[name.lower()]
    match = re.fullmatch(
        r"extd-(fpn|ssd)-(32|48|64)-(prelu|leakyrelu|relu)(-passnorm)?", name.lower()
    )
    if match is None:
        names = [*others, *(config.name for config in PAPER_CONFIGS)]
        nearest = difflib.get_close_matches(name.lower(), names, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else "extd models lists them"
        raise ValueError(f"there is no model {name!r}; {hint}")
    neck, width, activation = match.group(1, 2, 3)
    return ExtdConfig(
        cast("Neck", neck), int(width), cast("Activation", activation), match.group(4) is not None
    )
