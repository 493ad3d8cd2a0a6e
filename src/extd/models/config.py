"""The networks as values: the paper's 18 (section 3, Table 1) and EXTD-Lite. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from extd.catalog import nearest_name

Neck = Literal["fpn", "ssd"]
Activation = Literal["prelu", "leakyrelu", "relu"]
Upsampling = Literal["double", "fit"]
Backbone = Literal["vgg16", "mobilefacenet"]

WIDTHS = (32, 48, 64)
"""The paper's."""
STEM_WIDTH = 64
"""Channels of the paper's first convolution."""
MEAN = (123.0, 117.0, 104.0)
"""RGB mean subtracted from images of 0 to 255; there is no further scaling."""

STRIDES = (4, 8, 16, 32, 64, 128)
ANCHOR_SIZES = (16, 32, 64, 128, 256, 512)
"""Sides of S3FD's anchors (table 1), four strides each: also what its augmentation aims at."""
VARIANCES = (0.1, 0.2)
"""Scale of the regressed center and log size (SSD)."""


def _check_choice(field: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{field} is {value!r}; choose one of {choices}")


@dataclass(frozen=True, slots=True)
class ExtdConfig:
    """One of the paper's networks.

    Attributes:
        neck: `fpn` upsamples and adds the maps before the heads (figure 2b); `ssd` does not (2a).
        width: channels C of every feature map: 32, 48 or 64.
        activation: `prelu` (one learned slope a layer), `leakyrelu` (slope 0.25) or `relu`.
        norm_per_pass: give each pass through F its own batch norm; the paper's nets share one.
        upsampling: `double` enlarges a map by 2 and cuts what lies beyond the finer one; `fit`
            stretches it to the finer one's size, as the authors' code does. They differ where a
            side of the image is no multiple of 128: there `fit` adds cells that do not coincide.
    """

    strides: ClassVar[tuple[int, ...]] = STRIDES
    anchor_sizes: ClassVar[tuple[int, ...]] = ANCHOR_SIZES

    neck: Neck = "fpn"
    width: int = 32
    activation: Activation = "prelu"
    norm_per_pass: bool = False
    upsampling: Upsampling = "double"

    def __post_init__(self) -> None:
        _check_choice("neck", self.neck, get_args(Neck))
        _check_choice("width", self.width, WIDTHS)
        _check_choice("activation", self.activation, get_args(Activation))
        _check_choice("upsampling", self.upsampling, get_args(Upsampling))

    @property
    def name(self) -> str:
        """As in `extd-fpn-32-prelu`, with `-passnorm` for a batch norm a pass."""
        suffix = "-passnorm" if self.norm_per_pass else ""
        return f"extd-{self.neck}-{self.width}-{self.activation}{suffix}"

    @property
    def expansions(self) -> tuple[int, ...]:
        """Of each block of F (section 3.2)."""
        return (2, 2, 4, 4, 2, 2) if self.width == 32 else (2, 2, 4, 4)

    @property
    def activated_projection(self) -> bool:
        """Whether an inverted residual also activates its projection: the paper's width 32 does."""
        return self.width == 32


@dataclass(frozen=True, slots=True)
class S3fdConfig:
    """A baseline of the paper: S3FD, with VGG-16 as published or MobileFaceNet (S3FD+M)."""

    strides: ClassVar[tuple[int, ...]] = STRIDES
    anchor_sizes: ClassVar[tuple[int, ...]] = ANCHOR_SIZES

    backbone: Backbone = "vgg16"

    def __post_init__(self) -> None:
        _check_choice("backbone", self.backbone, get_args(Backbone))

    @property
    def name(self) -> str:
        """As in `s3fd-vgg16`."""
        return f"s3fd-{self.backbone}"


@dataclass(frozen=True, slots=True)
class LiteConfig:
    """A network of EXTD-Lite, made for int8 arithmetic on CPUs.

    Attributes:
        width: channels C of every feature map.
        stem_width: channels of the stem's map of stride 4, before the map of stride 8.
        blocks: residual 3x3 convolutions of F, after the one of stride 2.
        tower: residual 3x3 convolutions that all levels share, before the head.
    """

    strides: ClassVar[tuple[int, ...]] = STRIDES[1:]
    anchor_sizes: ClassVar[tuple[int, ...]] = ANCHOR_SIZES[1:]

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
        """`extd-lite` or `extd-lite-nano`; any other network is `extd-custom`."""
        names = (name for name, config in LITE_CONFIGS.items() if config == self)
        return next(names, "extd-custom")


NetworkConfig = ExtdConfig | LiteConfig | S3fdConfig

PAPER_CONFIGS = tuple(
    ExtdConfig(neck, width, activation)
    for neck in get_args(Neck)
    for width in WIDTHS
    for activation in get_args(Activation)
)
"""Every detector of Table 1."""
BASELINE_CONFIGS = tuple(S3fdConfig(backbone) for backbone in get_args(Backbone))
"""What the paper compares with."""
LITE_CONFIGS = {
    "extd-lite": LiteConfig(),
    "extd-lite-nano": LiteConfig(width=32, stem_width=16),
}
"""The same idea made for CPUs: docs/lite.md sets it beside the paper."""


def parse_name(name: str) -> NetworkConfig:
    """The configuration that a model name stands for, in any letter case, or a ValueError."""
    per_pass = (replace(config, norm_per_pass=True) for config in PAPER_CONFIGS)
    configs: list[NetworkConfig] = [*LITE_CONFIGS.values(), *BASELINE_CONFIGS]
    named = {config.name: config for config in [*configs, *PAPER_CONFIGS, *per_pass]}
    if name.lower() not in named:
        raise ValueError(f"there is no model {name!r}; {nearest_name(name, named)}")
    return named[name.lower()]
