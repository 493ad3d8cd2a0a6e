"""What `bench` measures as tables: Markdown to read, rows for CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from extd.files import atomic_write
from extd.measure.bench import Latency, Scored, Spread, Throughput

Row = dict[str, object]


def latency_table(latencies: Sequence[Latency]) -> str:
    """Latencies by size of the picture, each with its ratio to the first detector, in Markdown."""
    first = latencies[0].name
    reference = {row.size: row.compared.median for row in latencies if row.name == first}
    header = ["detector", "picture", "network input", "network, ms", "quartiles"]
    header += ["post-processing, ms", "whole, ms", "memory, MB", f"{first} = 1"]
    rows = [
        [
            row.label,
            _size(row.size),
            _size(row.network_input),
            _milliseconds(row.network),
            _quartiles(row.compared),
            _milliseconds(row.postprocessing),
            _milliseconds(row.whole),
            "-" if row.memory is None else f"{row.memory / 1e6:,.0f}",
            f"{row.compared.median / reference[row.size]:.2f}",
        ]
        for row in latencies
    ]
    return markdown(header, rows, texts=1)


def throughput_table(throughputs: Sequence[Throughput]) -> str:
    """Pictures a second, in Markdown."""
    header = ["detector", "picture", "batch", "network, ms", "quartiles", "pictures a second"]
    rows = [
        [
            row.name,
            _size((row.width, row.height)),
            str(row.batch),
            _milliseconds(row.network),
            _quartiles(row.network),
            f"{row.pictures_a_second:.1f}",
        ]
        for row in throughputs
    ]
    return markdown(header, rows, texts=1)


def ap_table(results: Sequence[Scored]) -> str:
    """AP beside latency, with its ratio to the first detector, in Markdown."""
    first = results[0].latency
    header = ["detector", "how it is run", f"network at {_size(first.size)}, ms"]
    header += [f"{first.name} = 1", *results[0].ap]
    rows = [
        [
            result.latency.label,
            result.note,
            f"{_milliseconds(result.latency.compared)} ({_quartiles(result.latency.compared)})",
            f"{result.latency.compared.median / first.compared.median:.2f}",
            *(f"{ap:.3f}" for ap in result.ap.values()),
        ]
        for result in results
    ]
    return markdown(header, rows, texts=2)


def latency_row(latency: Latency) -> Row:
    """A latency for a CSV file: times in milliseconds, memory in bytes."""
    columns, rows = latency.network_input or (None, None)
    return {
        "detector": latency.name,
        "width": latency.width,
        "height": latency.height,
        "input_width": columns,
        "input_height": rows,
        **_spread("network", latency.network),
        **_spread("postprocessing", latency.postprocessing),
        **_spread("whole", latency.whole),
        "memory_bytes": latency.memory,
    }


def throughput_row(throughput: Throughput) -> Row:
    """A throughput for a CSV file: times in milliseconds for a batch."""
    return {
        "detector": throughput.name,
        "width": throughput.width,
        "height": throughput.height,
        "batch": throughput.batch,
        **_spread("network", throughput.network),
        "pictures_a_second": round(throughput.pictures_a_second, 2),
    }


def ap_row(result: Scored) -> Row:
    """AP for a CSV file, then the columns of `latency_row`."""
    ap = {name: round(value, 5) for name, value in result.ap.items()}
    latency = latency_row(result.latency)
    name = {"detector": latency.pop("detector")}
    return name | {"protocol": "single", "images": result.images} | ap | latency


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of the same keys, which head the columns; None is an empty cell."""
    stream = io.StringIO()
    table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with atomic_write(path) as partial:
        partial.write_text(stream.getvalue(), encoding="utf-8")


def _spread(name: str, spread: Spread | None) -> Row:
    values = (None,) * 3 if spread is None else (spread.median, spread.lower, spread.upper)
    return {
        f"{name}_ms{field}": None if value is None else round(value, 4)
        for field, value in zip(("", "_lower_quartile", "_upper_quartile"), values, strict=True)
    }


def markdown(header: list[str], rows: list[list[str]], texts: int) -> str:
    """A table whose first `texts` columns are words and whose others are numbers."""
    rule = ["---"] * texts + ["---:"] * (len(header) - texts)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows)) + "\n"


def _size(size: tuple[int, int] | None) -> str:
    return "-" if size is None else f"{size[0]}x{size[1]}"


def _milliseconds(spread: Spread | None) -> str:
    return "-" if spread is None else _number(spread.median)


def _quartiles(spread: Spread) -> str:
    return f"{_number(spread.lower)} to {_number(spread.upper)}"


def _number(value: float) -> str:
    """Three digits or so."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
