"""`extd data`: datasets checked and converted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from os.path import normpath
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console

from extd.cli.terminal import (
    WHOLE_NUMBER,
    Folder,
    UsageError,
    count,
    print_line,
    print_note,
    progress_bar,
    usage_errors,
)
from extd.cpu import MAX_THREADS
from extd.data import check as checks
from extd.data.check import FINDINGS, SIZE_BINS, Finding, Kind, Summary
from extd.data.contact_sheet import MOST_SAMPLES, draw_contact_sheet
from extd.data.datasets import WRITABLE, find_format, read_dataset, write_dataset
from extd.data.sample import Sample
from extd.media.writers import write_image

LISTED = 10
"""Findings of each kind that are printed; `--out` writes them all."""
BAR = 40
"""Characters of the longest bar."""


def _check_format(_: object, name: str | None) -> None:
    if name is not None:
        find_format(name)


def _check_writable(_: object, name: str) -> None:
    if find_format(name).write is None:
        raise ValueError(f"{name} is only read; write one of {', '.join(WRITABLE)}")


DataSet = Annotated[Path, Parameter(metavar="PATH")]
FORMAT = Parameter(metavar="NAME", show_default="recognized", validator=_check_format)
SAMPLES = Parameter(validator=Number(gte=1, lte=MOST_SAMPLES))
THREADS = Parameter(show_default="one a core", validator=Number(gte=0, lte=MAX_THREADS))
CLASS = Parameter(name="--class", metavar="NAME", show_default="face and its usual names")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Meaning:
    """What labels mean where they do not say it.

    Attributes:
        images: Folder that image names are relative to.
        classes: Class of faces; may be given more than once.
    """

    images: Annotated[Folder | None, Parameter(show_default="as the labels say")] = None
    classes: Annotated[tuple[str, ...], CLASS] = ()


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Drawn:
    """Which images the contact sheet shows.

    Attributes:
        samples: How many images the contact sheet shows.
        seed: Which they are.
    """

    samples: Annotated[int, WHOLE_NUMBER, SAMPLES] = 24
    seed: Annotated[int, WHOLE_NUMBER, Parameter(validator=Number(gte=0))] = 0


AS_LABELED, FIRST_DRAWN = Meaning(), Drawn()

app = App(name="data", help="Check and convert datasets.")


@app.command(sort_key=0)
def check(
    path: DataSet,
    other: Annotated[Path | None, Parameter(metavar="OTHER", show_default=False)] = None,
    /,
    *,
    layout: Annotated[str | None, FORMAT, Parameter(name="--format")] = None,
    meaning: Meaning = AS_LABELED,
    out: Folder | None = None,
    labels_only: bool = False,
    drawn: Drawn = FIRST_DRAWN,
    threads: Annotated[int, WHOLE_NUMBER, THREADS] = 0,
) -> int:
    """Describe a dataset, and name what is probably wrong with it.

    Counts images and faces, by size and source, and names every box without area, given twice or
    reaching beyond its image, every image that is listed twice, missing, unreadable, of another
    size than its labels say or nearly equal to another, and every malformed entry. The exit code
    is 1 if there is any. PATH is a label file or a folder: labels.jsonl or what `extd detect`
    writes, WIDER FACE, COCO, YOLO, Pascal VOC, CSV, RetinaFace, labelme, CVAT or Label
    Studio.

        extd data check faces/labels.jsonl --out look
        extd data check train.jsonl test.jsonl

    Args:
        path: The dataset.
        other: Another one, as of the images to test with. Images that both have are named, also
            where one is resized, compressed again, brighter or slightly cropped.
        layout: Its format: jsonl, wider, coco, yolo, voc, csv, retinaface, labelme,
            cvat or label-studio.
        out: Write findings.csv and contact_sheet.jpg, samples with their boxes, to this folder.
        labels_only: Open no image: faster, and tells of the labels alone.
        threads: How many images are decoded at once.
    """
    if labels_only and other is not None:
        raise UsageError("--labels-only opens no image, so it cannot find copies: leave out OTHER")
    labeled, malformed = read(path, layout, meaning)
    if out is not None:
        with usage_errors():
            checks.check_output(out, path, labeled)
    findings = malformed + find(labeled, threads, labels_only=labels_only)
    if not labels_only:
        findings += find_copies(labeled, findings, threads)
    if other is not None:
        others, left_out = read(other, None, replace(meaning, images=None))
        with counting("comparing") as show:
            findings += [*left_out, *checks.check_copies(labeled, others, threads, show)]
    lines = describe(str(path), checks.summarize(labeled), checks.summarize_sources(labeled))
    print_line("\n".join([*lines, *list_findings(findings, out)]))
    if sum(finding.kind == Kind.MISSING for finding in findings) == len(labeled):
        print_line("no image was found: give --images, their folder\n")
    if out is not None:
        checks.write_findings(out / FINDINGS, findings)
        print_line(f"written: {out / FINDINGS}")
        if not labels_only:
            sheet = out / "contact_sheet.jpg"
            write_image(sheet, draw_contact_sheet(labeled, findings, drawn.samples, drawn.seed))
            print_line(f"written: {sheet}")
    return 1 if findings else 0


def find(samples: Sequence[Sample], threads: int, *, labels_only: bool) -> list[Finding]:
    """What is probably wrong with the samples, and with their files."""
    findings = list(checks.check_labels(samples))
    if labels_only:
        return findings
    # Decoding tells why a size is unknown.
    findings = [finding for finding in findings if finding.kind != Kind.NO_SIZE]
    with progress_bar() as bar:
        checked = checks.check_files(samples, threads)
        results = bar.track(checked, len(samples), description="decoding")
        return findings + list(chain.from_iterable(results))


def find_copies(samples: Sequence[Sample], known: Sequence[Finding], threads: int) -> list[Finding]:
    """Near-duplicates within a set, without those of `known`; a note where imagehash is missing."""
    named = {Path(normpath(one.image)) for one in known if one.kind == Kind.SAME_PIXELS}
    try:
        with counting("comparing") as show:
            copies = list(checks.check_copies(samples, None, threads, show))
    except ImportError as error:
        print_note(str(error), Console(stderr=True))
        return []
    return [one for one in copies if one.image not in named]


def describe(name: str, whole: Summary, sources: Sequence[Summary]) -> list[str]:
    """Counts, and a bar for each size of faces."""
    lines = [
        f"{name}: {count(whole.images, 'image')}, {whole.without_faces:,} of them without faces; "
        f"{count(whole.faces, 'face')}, {count(whole.ignored, 'ignored region')}",
        "",
        "faces by size, the square root of their area in px",
    ]
    highest = max(int(whole.sizes.max()), 1)
    for size, number in zip(SIZE_BINS, whole.sizes.tolist(), strict=True):
        if number or size != SIZE_BINS[0]:
            bar = "#" * -(-number * BAR // highest)
            lines.append(f"  {size:>8} {number:9,}  {bar}".rstrip())
    if len(sources) > 1:
        width = max(len(one.source) for one in sources)
        head = ["images", "faces", *SIZE_BINS[1:], "ignored"]
        lines += ["", " ".join(["source".ljust(width), *(f"{word:>8}" for word in head)])]
        for one in sources:
            numbers = [one.images, one.faces, *one.sizes[1:].tolist(), one.ignored]
            cells = [f"{number:8,}" for number in numbers]
            lines.append(" ".join([one.source.ljust(width), *cells]))
    return lines


def list_findings(findings: Sequence[Finding], out: Path | None) -> list[str]:
    """How many findings of each kind there are, and the first of them."""
    lines = ["", "nothing is wrong" if not findings else count(len(findings), "finding")]
    for kind in sorted({finding.kind for finding in findings}, key=[*Kind].index):
        own = [finding for finding in findings if finding.kind == kind]
        lines += ["", f"{kind}: {len(own):,}", *(f"  {finding}" for finding in own[:LISTED])]
        if (more := len(own) - LISTED) > 0:
            where = "--out DIR lists all" if out is None else f"all are in {out / FINDINGS}"
            lines.append(f"  and {more:,} more; {where}")
    return [*lines, ""]


@app.command(name="convert", sort_key=1)
def convert_data(
    path: DataSet,
    /,
    *,
    to: Annotated[str, Parameter(metavar="NAME", validator=_check_writable)],
    out: Annotated[Path, Parameter(metavar="PATH")],
    layout: Annotated[str | None, FORMAT, Parameter(name="--from")] = None,
    meaning: Meaning = AS_LABELED,
    copy: bool = False,
) -> None:
    """Write a dataset in another format.

    jsonl, coco and csv are one file, which names the images where they are. wider, yolo and voc
    are a folder with links to the images. What the format cannot hold is reported.

        extd data convert faces/labels.jsonl --to coco --out faces/coco.json

    Args:
        path: The dataset, in any format of `extd data check`.
        to: Format to write: jsonl, wider, coco, yolo, voc or csv.
        out: File or new folder to write.
        layout: Format of the dataset: one of these, retinaface, labelme, cvat or
            label-studio.
        copy: Copy the images too, instead of linking or naming them where they are.
    """
    labeled, malformed = read(path, layout, meaning)
    with counting("writing") as show:
        losses = write_dataset(labeled, out, to, copy, show)
    faces = count(sum(len(sample.boxes) for sample in labeled), "face")
    print_line(f"written: {out}, {count(len(labeled), 'image')} with {faces}")
    for finding in malformed:
        print_line(f"left out: {finding}")
    for loss in losses:
        print_line(f"lost: {loss}")


def read(path: Path, layout: str | None, meaning: Meaning) -> tuple[list[Sample], list[Finding]]:
    """The samples of a dataset, with a bar while sizes are read, and what was left out."""
    malformed: list[Finding] = []

    def report(file: Path, fault: str) -> None:
        malformed.append(Finding(Kind.LEFT_OUT, file, fault))

    with counting("reading sizes") as show:
        return read_dataset(path, layout, meaning.images, show, meaning.classes, report), malformed


@contextmanager
def counting(what: str) -> Iterator[Callable[[Sequence[Any]], Iterable[Any]]]:
    """A bar; yields what tracks an iteration."""
    with progress_bar() as bar:
        yield partial(bar.track, description=what)
