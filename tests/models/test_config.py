from __future__ import annotations

import dataclasses

import pytest

from extd.models.config import (
    ANCHOR_SIZES,
    BASELINE_CONFIGS,
    LITE_CONFIGS,
    PAPER_CONFIGS,
    ExtdConfig,
    NetworkConfig,
    S3fdConfig,
    parse_name,
)


def test_the_paper_has_eighteen_models_of_distinct_names() -> None:
    assert len({config.name for config in PAPER_CONFIGS}) == 18


@pytest.mark.parametrize(
    "config",
    [*PAPER_CONFIGS, *LITE_CONFIGS.values(), *BASELINE_CONFIGS],
    ids=lambda config: config.name,
)
def test_names_stand_for_their_configuration_in_any_case(config: NetworkConfig) -> None:
    assert parse_name(config.name) == config
    assert parse_name(config.name.upper()) == config


def test_a_batch_norm_a_pass_is_part_of_the_name() -> None:
    config = ExtdConfig("ssd", 48, "relu", norm_per_pass=True)
    assert parse_name(config.name) == config


@pytest.mark.parametrize("name", ["extd-fpn-48-prelu", "extd-lite"])
def test_the_upsampling_is_no_part_of_the_name(name: str) -> None:
    config = parse_name(name)
    assert isinstance(config, ExtdConfig)
    assert dataclasses.replace(config, upsampling="fit").name == name


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"extd-fpn-32-prelo.*did you mean 'extd-fpn-32-prelu'"):
        parse_name("extd-fpn-32-prelo")


@pytest.mark.parametrize(
    ("field", "value"),
    [("neck", "pan"), ("width", 40), ("activation", "gelu"), ("block", "x"), ("first_stride", 6)],
)
def test_a_wrong_field_is_named_with_the_choices(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field} is .*{value}.*choose one of"):
        ExtdConfig(**{field: value})  # type: ignore[arg-type]


def test_an_unknown_backbone_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"backbone is 'resnet'; choose one of .*vgg16"):
        S3fdConfig("resnet")  # type: ignore[arg-type]


def test_the_papers_anchors_are_those_of_s3fd() -> None:
    config = ExtdConfig()
    assert config.strides == (4, 8, 16, 32, 64, 128)
    assert config.anchor_sizes == ANCHOR_SIZES


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"expansions": (2, 0)}, r"expansions is \(2, 0\); give 1 or more"),
        ({"block": "conv"}, "give 1 for each 3x3 convolution"),
        ({"stem": (16, 16, 32)}, r"stem is \(16, 16, 32\); give 1 convolutions, or one less"),
        ({"depths": (6, 6, 6, 6, 6, 3)}, "depths is .*; give 6 numbers up to 6, which one is, w"),
        ({"stride_first": True, "depths": (7, 6, 6, 6, 6, 6)}, "give 6 numbers up to 6"),
        ({"stride_first": True, "depths": (5, 5, 5, 5, 5, 5)}, "give 6 numbers up to 6"),
        ({"anchor_scale": 0.0}, "anchor_scale is 0.0; give above 0"),
        ({"shared_head": True}, "shared_head is True; give false, or head: joint"),
    ],
)
def test_fields_that_do_not_fit_together_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExtdConfig(**fields)  # type: ignore[arg-type]
