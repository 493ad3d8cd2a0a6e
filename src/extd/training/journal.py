"""The numbers of a run: CSV files and TensorBoard events in its folder."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from extd.evaluation.labeled import SIZES
from extd.files import atomic_write
from extd.training.step import Report

LOG = "log.csv"
VALIDATION = "validation.csv"
REPORTED = tuple(f.name for f in dataclasses.fields(Report) if f.name != "stop")
LOG_COLUMNS = ("step", "rate", *REPORTED, "seconds", "waited")
"""`seconds` and `waited`, for data, count from the process's first step."""
VALIDATION_COLUMNS = ("step", *SIZES)


@dataclass(frozen=True, slots=True)
class Journal:
    """Writes down a run; rows are kept until `flush`.

    Attributes:
        folder: of the run.
        events: for TensorBoard.
        rows: of `LOG_COLUMNS`, not yet written.
    """

    folder: Path
    events: SummaryWriter
    rows: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, step: int, rate: float, report: Report, seconds: float, waited: float) -> None:
        """Note one step."""
        values = [getattr(report, name) for name in REPORTED]
        self.rows.append((step, rate, *values, seconds, waited))

    def measured(self, step: int, ap: dict[str, float]) -> None:
        """Note AP by the size of faces."""
        _append(self.folder / VALIDATION, [(step, *ap.values())])
        for size, value in ap.items():
            self.events.add_scalar(f"AP/{size}", value, step)

    def flush(self) -> None:
        """Write what was noted."""
        _append(self.folder / LOG, self.rows)
        for step, *values in self.rows[-1:]:
            for name, value in zip(LOG_COLUMNS[1:], values, strict=True):
                self.events.add_scalar(f"training/{name}", value, int(step))
        self.rows.clear()


@contextmanager
def open_journal(folder: Path, step: int) -> Iterator[Journal]:
    """The journal of the run in `folder`, without the rows after `step`: they are made again.

    Raises:
        ValueError: a file has other columns.
    """
    _begin(folder / LOG, LOG_COLUMNS, step)
    _begin(folder / VALIDATION, VALIDATION_COLUMNS, step)
    with SummaryWriter(str(folder / "events"), purge_step=step + 1) as events:
        journal = Journal(folder, events)
        try:
            yield journal
        finally:
            journal.flush()


def _begin(path: Path, columns: Sequence[str], step: int) -> None:
    rows: list[list[str]] = []
    if step and path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            header, *found = list(csv.reader(file)) or [list(columns)]
        if header != list(columns):
            raise ValueError(f"{path} has the columns {header}, not {list(columns)}; move it away")
        # A killed run can leave half a row.
        rows = [row for row in found if len(row) == len(columns) and int(row[0]) <= step]
    with (
        atomic_write(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows([columns, *rows])


def _append(path: Path, rows: Sequence[Sequence[float]]) -> None:
    with path.open("a", newline="", encoding="utf-8") as file:
        for step, *values in rows:
            csv.writer(file).writerow([int(step), *(f"{value:.6g}" for value in values)])


def read_columns(path: Path) -> dict[str, list[float]]:
    """The columns of a CSV file of the journal; empty where there is none or it has no rows."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
