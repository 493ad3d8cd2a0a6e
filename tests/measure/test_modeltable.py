from __future__ import annotations

from pathlib import Path

import pytest

from extd.catalog import AveragePrecision
from extd.images import read_image
from extd.measure.modeltable import (
    NetworkCost,
    TableRow,
    model_table,
    plot_costs,
    table_markdown,
    table_record,
)

S3FD = TableRow(NetworkCost("s3fd-vgg16", 22_400_000, 96 * 10**9, 128 * 10**9, 128 * 10**9, 2**27))
OURS = TableRow(
    NetworkCost("extd-a", 160_000, 6 * 10**9, 8 * 10**9, 10**9, 10**8),
    onnx_bytes=700_000,
    ap=AveragePrecision(0.8, 0.75, 0.6),
    images=363,
    paper_macs=19.2,
    paper_parameters=138,
)


def test_ratios_are_to_s3fd_with_the_papers_claim_beside_them() -> None:
    heading, (_, ours) = model_table([S3FD, OURS])
    cells = dict(zip(heading[3:7], ours[3:7], strict=True))
    assert cells == {
        "weights, kB": "640",
        "ONNX file, kB": "700",
        "M multiply-adds, 640x480": "6,000",
        "640x640": "8,000",
    }
    assert (ours[2], ours[7]) == ("140 (138)", "16.0 (19.2)")
    assert ours[-3:] == ["0.800", "0.750", "0.600"]


def test_the_record_has_every_number_in_full() -> None:
    record = table_record(OURS, [S3FD, OURS])
    assert record["s3fd_macs_ratio"] == 16
    assert record["s3fd_macs_ratio_paper"] == 19.2
    assert record["hooked_macs_640x640"] == 10**9
    assert record["float32_bytes"] == 640_000
    assert table_record(S3FD, [S3FD])["hard"] is None


def test_the_markdown_tells_how_many_pictures_ap_covers() -> None:
    text = table_markdown([S3FD, OURS])
    assert text.splitlines()[3].startswith("| extd-a | 160,000 | 140 (138) |")
    assert "363 pictures" in text


def test_without_s3fd_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(ValueError, match="s3fd-vgg16"):
        model_table([OURS])


def test_the_picture_can_be_read(tmp_path: Path) -> None:
    plot_costs({"S3FD": S3FD.cost, "extd-a": OURS.cost}, tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").std() > 0
