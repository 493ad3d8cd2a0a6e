from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from extd.models.anchors import anchor_boxes
from extd.models.config import LITE_CONFIGS, PAPER_CONFIGS, ExtdConfig
from extd.models.extd import FACE_PRIOR, Extd, Heads, JointHeads, UpsamplingBlock
from extd.models.profile import count_macs, count_parameters


@pytest.mark.parametrize(("width", "parameters"), [(32, 62_939), (48, 100_160), (64, 162_352)])
def test_parameters_are_those_of_the_paper(width: int, parameters: int) -> None:
    assert count_parameters(Extd(ExtdConfig("fpn", width))) == parameters


@pytest.mark.parametrize(("width", "millions"), [(32, 4_048), (48, 5_918), (64, 10_059)])
def test_multiply_adds_at_640x480(width: int, millions: int) -> None:
    macs = count_macs(Extd(ExtdConfig("fpn", width)).eval())
    assert macs / 1e6 == pytest.approx(millions, abs=1)


@pytest.mark.parametrize(
    ("name", "parameters"), [("extd-lite", 114_489), ("extd-lite-nano", 50_229)]
)
def test_parameters_of_the_lite_nets(name: str, parameters: int) -> None:
    assert count_parameters(Extd(LITE_CONFIGS[name])) == parameters


@pytest.mark.parametrize(
    "config",
    [
        *PAPER_CONFIGS,
        *LITE_CONFIGS.values(),
        ExtdConfig("ssd", 24, "relu", expansions=(2, 1), first_stride=8, stem=(8, 16)),
        ExtdConfig(
            "fpn",
            32,
            block="conv",
            expansions=(1,) * 3,
            stride_first=True,
            depths=(1, 3, 3, 3, 2, 1),
            stem=(),
            tower=1,
        ),
    ],
    ids=lambda config: config.name,
)
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
    st.sampled_from([ExtdConfig(), LITE_CONFIGS["extd-lite-nano"]]),
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


def test_a_pass_runs_the_blocks_that_its_depth_says() -> None:
    config = dataclasses.replace(LITE_CONFIGS["extd-lite-nano"], depths=(1, 3, 3, 3, 2))
    network = Extd(config).eval()
    calls = []
    for index, block in enumerate(network.backbone.blocks):
        block.register_forward_hook(lambda *_, index=index: calls.append(index))
    network(torch.zeros(1, 3, 64, 64))
    assert calls == [0, *(0, 1, 2) * 3, 0, 1]


def test_joint_heads_give_a_box_and_the_log_odds_of_each_cell() -> None:
    network = Extd(dataclasses.replace(LITE_CONFIGS["extd-lite-nano"], shared_head=False)).eval()
    assert isinstance(network.heads, JointHeads)
    with torch.no_grad():
        for level, head in enumerate(network.heads.levels):
            assert isinstance(head, nn.Conv2d)
            assert head.bias is not None
            head.weight.zero_()
            head.bias.copy_(torch.tensor([0.0, 1, 2, 3, level]))
        predictions = network(torch.zeros(1, 3, 256, 256))
    assert predictions.regression[0].unique(dim=0).tolist() == [[0, 5, 10, 15]]
    counts = torch.bincount(predictions.log_odds[0].long())
    assert counts.tolist() == [32**2, 16**2, 8**2, 4**2, 2**2]


def test_a_shared_head_reads_every_level_alike() -> None:
    config = LITE_CONFIGS["extd-lite-nano"]
    shared = Extd(config).eval()
    own = Extd(dataclasses.replace(config, shared_head=False)).eval()
    assert isinstance(shared.heads, JointHeads)
    assert isinstance(own.heads, JointHeads)
    for head in own.heads.levels:
        head.load_state_dict(shared.heads.levels[0].state_dict())
    maps = [torch.randn(2, 32, side, side) for side in (8, 4, 2, 1, 1)]
    one, other = shared.heads(maps), own.heads(maps)
    assert torch.equal(one.regression, other.regression)
    assert torch.equal(one.logits, other.logits)
    own_head, shared_head = (sum(p.numel() for p in n.heads.parameters()) for n in (own, shared))
    assert own_head == 5 * shared_head
