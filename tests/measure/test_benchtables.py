from __future__ import annotations

import csv
from pathlib import Path

import pytest

from extd.measure.bench import Latency, Scored, Spread, Throughput
from extd.measure.benchtables import (
    ap_row,
    ap_table,
    latency_row,
    latency_table,
    throughput_row,
    throughput_table,
    write_csv,
)

SIZE = (640, 480)
AP = {"easy": 0.86751, "medium": 0.85562, "hard": 0.80583}


def staged(name: str, network: float, width: int = 640) -> Latency:
    times = (Spread(network, network - 1, network + 1), Spread(0.5, 0.4, 0.6))
    whole = Spread(network + 1, network, network + 2)
    return Latency(name, width, 480, (width + 32, 480), *times, whole, memory=120_500_000)


WHOLE = Latency("opencv", *SIZE, None, None, None, Spread(30, 29, 31))


def body(table: str) -> list[list[str]]:
    """The cells below the header."""
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_ratios_are_to_the_first_detector_at_the_same_size() -> None:
    latencies = [staged("a", 10), staged("b", 25), WHOLE, staged("a", 40, 1280)]
    rows = body(latency_table([*latencies, staged("b", 60, 1280)]))
    assert [row[-1] for row in rows] == ["1.00", "2.50", "3.00", "1.00", "1.50"]
    sizes, times = ["640x480", "672x480"], ["10.0", "9.00 to 11.0", "0.50", "11.0"]
    assert rows[0] == ["a", *sizes, *times, "120", "1.00"]
    assert rows[2][:6] == ["opencv (whole)", "640x480", "-", "-", "29.0 to 31.0", "-"]


def test_the_table_of_ap_tells_how_each_is_run() -> None:
    results = [Scored(staged("a", 10), "NMS 0.3", 363, AP), Scored(WHOLE, "by OpenCV", 363, AP)]
    table = ap_table(results)
    assert "network at 640x480, ms | a = 1 | easy | medium | hard |" in table
    assert body(table)[1] == [
        *("opencv (whole)", "by OpenCV", "30.0 (29.0 to 31.0)", "3.00"),
        *("0.868", "0.856", "0.806"),
    ]


def test_rows_of_a_file_have_the_same_columns(tmp_path: Path) -> None:
    rows = [latency_row(staged("a", 10)), latency_row(WHOLE)]
    write_csv(tmp_path / "new/latency.csv", rows)
    with (tmp_path / "new/latency.csv").open(encoding="utf-8", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert first["network_ms"] == "10"
    assert first["network_ms_upper_quartile"] == "11"
    assert first["memory_bytes"] == "120500000"
    assert second["network_ms"] == second["memory_bytes"] == second["input_width"] == ""
    assert second["whole_ms"] == "30"
    ap = ap_row(Scored(WHOLE, "", 363, AP))
    assert list(ap)[:6] == ["detector", "protocol", "images", "easy", "medium", "hard"]
    assert ap["hard"] == AP["hard"]
    assert ap.items() >= rows[1].items()


def test_pictures_a_second_count_the_whole_batch() -> None:
    throughput = Throughput("a", *SIZE, batch=8, network=Spread(200, 190, 210))
    assert throughput_row(throughput)["pictures_a_second"] == pytest.approx(40)
    assert body(throughput_table([throughput])) == [
        ["a", "640x480", "8", "200", "190 to 210", "40.0"]
    ]
