from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from extd.models.anchors import anchor_boxes
from extd.models.config import PAPER_CONFIGS, ExtdConfig
from extd.models.extd import FACE_PRIOR, Extd, Heads, UpsamplingBlock
from extd.models.network import count_macs, count_parameters


@pytest.mark.parametrize(("width", "parameters"), [(32, 62_939), (48, 100_160), (64, 162_352)])
def test_parameters_are_those_of_the_paper(width: int, parameters: int) -> None:
    assert count_parameters(Extd(ExtdConfig("fpn", width))) == parameters


@pytest.mark.parametrize(("width", "millions"), [(32, 4_048), (48, 5_918), (64, 10_059)])
def test_multiply_adds_at_640x480(width: int, millions: int) -> None:
    macs = count_macs(Extd(ExtdConfig("fpn", width)).eval())
    assert macs / 1e6 == pytest.approx(millions, abs=1)


@pytest.mark.parametrize("config", PAPER_CONFIGS, ids=lambda config: config.name)
def test_every_model_runs_trains_and_begins_with_few_faces(config: ExtdConfig) -> None:
    network = Extd(config)
    images = torch.rand(2, 3, 96, 130) * 255
    predictions = network(images)
    count = len(anchor_boxes(config, 96, 130))
    assert predictions.regression.shape == (2, count, 4)
    assert predictions.log_odds.shape == (2, count)
    assert predictions.log_odds.sigmoid().median() < 10 * FACE_PRIOR
    (predictions.regression.square().mean() + predictions.logits.square().mean()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@settings(max_examples=15)
@given(
    st.sampled_from([ExtdConfig(), ExtdConfig("ssd", 48)]),
    st.integers(1, 300),
    st.integers(1, 300),
)
def test_any_input_size_has_one_prediction_an_anchor(
    config: ExtdConfig, height: int, width: int
) -> None:
    network = Extd(config).eval()
    with torch.no_grad():
        maps = network.features(torch.zeros(1, 3, height, width))
        predictions = network.heads(maps)
    shapes = [(-(-height // s), -(-width // s)) for s in config.strides]
    assert [tuple(m.shape[-2:]) for m in maps] == shapes
    assert predictions.logits.shape[1] == len(anchor_boxes(config, height, width))


def test_what_is_added_lies_together_where_maps_are_no_whole_multiple() -> None:
    coarse = torch.rand(1, 4, 3, 4)
    double, fit = (UpsamplingBlock(4, how).eval() for how in ("double", "fit"))
    fit.load_state_dict(double.state_dict())
    # A 3x3 filter that only copies, so that what follows compares cells.
    for block in (double, fit):
        block.depthwise.weight.data = F.pad(torch.ones(4, 1, 1, 1), (1, 1, 1, 1))
    even, odd = torch.zeros(1, 4, 6, 8), torch.zeros(1, 4, 5, 7)
    with torch.no_grad():
        assert torch.equal(double(coarse, odd), double(coarse, even)[..., :5, :7])
        assert torch.equal(double(coarse, even), fit(coarse, even))
        assert not torch.allclose(fit(coarse, odd), double(coarse, odd), atol=1e-3)


def test_the_six_passes_share_weights_and_by_default_statistics() -> None:
    shared, own = (Extd(ExtdConfig(norm_per_pass=each)) for each in (False, True))

    def size(network: nn.Module, kind: type[nn.Module]) -> int:
        return sum(
            p.numel() for m in network.modules() if isinstance(m, kind) for p in m.parameters()
        )

    assert size(shared, nn.Conv2d) == size(own, nn.Conv2d)
    assert size(own.backbone.blocks, nn.BatchNorm2d) == 6 * size(
        shared.backbone.blocks, nn.BatchNorm2d
    )


def test_norms_of_their_own_agree_between_training_and_evaluation() -> None:
    network = Extd(ExtdConfig("fpn", 48, "prelu", norm_per_pass=True))
    images = torch.rand(4, 3, 128, 128) * 255
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the running statistics become those of the batch
    with torch.no_grad():
        trained = network.train()(images).logits
        evaluated = network.eval()(images).logits
    # Running variances are unbiased, those of the batch are not: few cells differ most.
    assert (trained - evaluated).abs().mean() < 0.1 * trained.std()


def test_max_out_takes_the_largest_of_three_backgrounds() -> None:
    network = Extd(ExtdConfig("ssd")).eval()
    assert isinstance(network.heads, Heads)
    head = network.heads.classification[0]
    assert isinstance(head, nn.Conv2d)
    assert head.bias is not None
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([1.0, 3.0, 2.0, 0.5]))
        logits = network(torch.zeros(1, 3, 64, 64)).logits
    assert logits[0, 0].tolist() == [3.0, 0.5]
