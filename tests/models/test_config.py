from __future__ import annotations

import pytest

from extd.models.config import PAPER_CONFIGS, ExtdConfig, parse_name


def test_the_paper_has_eighteen_models_of_distinct_names() -> None:
    assert len({config.name for config in PAPER_CONFIGS}) == 18


@pytest.mark.parametrize("config", PAPER_CONFIGS, ids=lambda config: config.name)
def test_names_stand_for_their_configuration_in_any_case(config: ExtdConfig) -> None:
    assert parse_name(config.name) == config
    assert parse_name(config.name.upper()) == config


def test_a_batch_norm_a_pass_is_part_of_the_name() -> None:
    config = ExtdConfig("ssd", 48, "relu", norm_per_pass=True)
    assert parse_name(config.name) == config


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"extd-fpn-32-prelo.*did you mean 'extd-fpn-32-prelu'"):
        parse_name("extd-fpn-32-prelo")


@pytest.mark.parametrize(
    ("field", "value"), [("neck", "pan"), ("width", 40), ("activation", "gelu")]
)
def test_a_wrong_field_is_named_with_the_choices(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field} is .*{value}.*choose one of"):
        ExtdConfig(**{field: value})  # type: ignore[arg-type]
