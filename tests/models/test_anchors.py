from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from extd.models.anchors import anchor_boxes, decode, encode
from extd.models.config import ExtdConfig

sides = st.integers(1, 700)


@given(sides, sides)
def test_one_square_anchor_a_cell_centred_in_it(height: int, width: int) -> None:
    anchors = anchor_boxes(ExtdConfig(), height, width)
    start = 0
    for stride, size in ((4, 16), (8, 32), (16, 64), (32, 128), (64, 256), (128, 512)):
        rows, columns = (height + stride - 1) // stride, (width + stride - 1) // stride
        level = anchors[start : start + rows * columns].view(rows, columns, 4)
        assert (level[..., 2:] == size).all()
        assert level[0, 0, :2].tolist() == [stride / 2, stride / 2]
        last = [(columns - 0.5) * stride, (rows - 0.5) * stride]
        assert level[-1, -1, :2].tolist() == last
        start += rows * columns
    assert start == len(anchors)


coordinates = st.floats(-200, 800, width=32)
lengths = st.floats(1, 500, width=32)


@given(coordinates, coordinates, lengths, lengths, st.integers(0, 1332))
def test_decode_inverts_encode(x: float, y: float, w: float, h: float, index: int) -> None:
    box = torch.tensor([x, y, x + w, y + h])
    anchor = anchor_boxes(ExtdConfig(), 101, 150)[index]
    assert torch.allclose(decode(encode(box, anchor), anchor), box, atol=0.05)


def test_zero_regression_is_the_anchor() -> None:
    anchors = anchor_boxes(ExtdConfig(), 64, 64)
    boxes = decode(torch.zeros_like(anchors), anchors)
    assert torch.equal((boxes[:, :2] + boxes[:, 2:]) / 2, anchors[:, :2])
    assert torch.equal(boxes[:, 2:] - boxes[:, :2], anchors[:, 2:])
