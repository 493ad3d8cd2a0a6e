from __future__ import annotations

import dataclasses

import pytest

from extd.models.config import (
    BASELINE_CONFIGS,
    LITE_CONFIGS,
    PAPER_CONFIGS,
    ExtdConfig,
    LiteConfig,
    NetworkConfig,
    S3fdConfig,
    parse_name,
)


def test_the_paper_has_eighteen_models_of_distinct_names() -> None:
    assert len({config.name for config in PAPER_CONFIGS}) == 18


@pytest.mark.parametrize(
    "config",
    [
        *PAPER_CONFIGS,
        *LITE_CONFIGS.values(),
        *BASELINE_CONFIGS,
        ExtdConfig("ssd", 48, "relu", norm_per_pass=True),
    ],
    ids=lambda config: config.name,
)
def test_names_stand_for_their_configuration_in_any_case(config: NetworkConfig) -> None:
    assert parse_name(config.name) == config
    assert parse_name(config.name.upper()) == config


def test_what_the_name_does_not_tell() -> None:
    config = ExtdConfig("fpn", 48)
    assert dataclasses.replace(config, upsampling="fit").name == config.name
    assert LiteConfig(width=48).name == "extd-custom"


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"extd-fpn-32-prelo.*did you mean 'extd-fpn-32-prelu'"):
        parse_name("extd-fpn-32-prelo")


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [
        (ExtdConfig, "neck", "pan", "neck is 'pan'; choose one of .*ssd"),
        (ExtdConfig, "width", 40, "width is 40; choose one of .*48"),
        (ExtdConfig, "activation", "gelu", "activation is 'gelu'; choose one of .*prelu"),
        (ExtdConfig, "upsampling", "half", "upsampling is 'half'; choose one of .*fit"),
        (S3fdConfig, "backbone", "resnet", "backbone is 'resnet'; choose one of .*vgg16"),
        (LiteConfig, "blocks", 0, "blocks is 0; give 1 or more"),
        (LiteConfig, "tower", -1, "tower is -1; give 0 or more"),
    ],
)
def test_a_wrong_field_is_named_with_the_choices(
    kind: type[NetworkConfig], field: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**{field: value})


@pytest.mark.parametrize("config", [ExtdConfig(), S3fdConfig(), LiteConfig()])
def test_anchors_have_four_strides(config: NetworkConfig) -> None:
    assert config.strides[-1] == 128
    assert config.anchor_sizes == tuple(4 * stride for stride in config.strides)
