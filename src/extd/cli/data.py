"""`extd data`: datasets checked and converted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from extd.cli.terminal import (
    WHOLE_NUMBER,
    Folder,
    UsageError,
    count,
    print_line,
    progress_bar,
    usage_errors,
)
from extd.prefetch import check_threads

if TYPE_CHECKING:
    from extd.data.check import Finding, Summary
    from extd.data.sample import Sample

LISTED = 10
"""Findings of one kind that are printed where a file has them all."""
BAR = 40
"""Characters of the longest bar."""

DataSet = Annotated[Path, Parameter(metavar="PATH")]
Format = Annotated[str | None, Parameter(metavar="NAME", show_default="recognized")]
Images = Annotated[Folder | None, Parameter(show_default="as the labels say")]


def read(path: Path, layout: str | None, images: Path | None) -> list[Sample]:
    """The samples of a dataset, with a bar where their sizes must be read from the files.

    Raises:
        UsageError: there is no such format.
    """
    from extd.data.datasets import find_format, read_dataset

    if layout is not None:
        with usage_errors():
            find_format(layout)
    with counting("reading sizes") as show:
        return read_dataset(path, layout, images, show)


@contextmanager
def counting(what: str) -> Iterator[Callable[[Sequence[Any]], Iterable[Any]]]:
    """A bar; yields what tracks an iteration."""
    with progress_bar() as bar:
        yield partial(bar.track, description=what)


def check(
    path: DataSet,
    /,
    *,
    layout: Annotated[Format, Parameter(name="--format")] = None,
    images: Images = None,
    out: Folder | None = None,
    labels_only: Annotated[bool, Parameter(show_default=False)] = False,
    samples: Annotated[int, WHOLE_NUMBER] = 24,
    seed: Annotated[int, WHOLE_NUMBER] = 0,
    threads: Annotated[int, WHOLE_NUMBER, Parameter(show_default="one a core")] = 0,
) -> int:
    """Describe a dataset, and name what is probably wrong with it.

    Counts images and faces, by size and source, and names every box without area, given twice or
    reaching beyond its image, and every image that is listed twice, missing, unreadable, of
    another size than its labels say or equal to another. The exit code is 1 if there is any.
    PATH is a label file or a folder: labels.jsonl, WIDER FACE, COCO, YOLO, Pascal VOC or CSV.

        extd data check faces/labels.jsonl --out look

    Args:
        path: The dataset.
        layout: Its format: jsonl, wider, coco, yolo, voc or csv.
        images: Folder that image names are relative to.
        out: Write findings.csv and contact_sheet.jpg, samples with their boxes, to this folder.
        labels_only: Open no image: faster, and tells of the labels alone.
        samples: How many images the contact sheet shows.
        seed: Which they are.
        threads: How many images are decoded at once.
    """
    from extd.data import check as checks
    from extd.data.contact_sheet import MOST_SAMPLES, draw_contact_sheet
    from extd.media.writers import write_image

    if not 1 <= samples <= MOST_SAMPLES:
        raise UsageError(f"--samples is {samples}; give 1 or more, up to {MOST_SAMPLES}")
    if seed < 0:
        raise UsageError(f"--seed is {seed}; give 0 or more")
    with usage_errors():
        check_threads(threads, "--threads")
    labeled = read(path, layout, images)
    if out is not None:
        with usage_errors():
            checks.check_output(out, path, labeled)
    findings = find(labeled, threads, labels_only=labels_only)
    console = Console()
    lines = describe(str(path), checks.summarize(labeled), checks.summarize_sources(labeled))
    for line in [*lines, *list_findings(findings, out)]:
        print_line(console, line)
    if sum(one.kind == checks.Kind.MISSING for one in findings) == len(labeled):
        print_line(console, "no image was found: give --images, their folder\n")
    if out is not None:
        checks.write_findings(out / checks.FINDINGS, findings)
        print_line(console, f"written: {out / checks.FINDINGS}")
        if not labels_only:
            sheet = draw_contact_sheet(labeled, findings, samples, seed)
            write_image(out / "contact_sheet.jpg", sheet)
            print_line(console, f"written: {out / 'contact_sheet.jpg'}")
    return 1 if findings else 0


def find(samples: Sequence[Sample], threads: int, *, labels_only: bool) -> list[Finding]:
    """What is probably wrong with the samples, and with their files."""
    from extd.data import check as checks

    findings = list(checks.check_labels(samples))
    if labels_only:
        return findings
    with progress_bar() as bar:
        checked = checks.check_files(samples, threads)
        results = bar.track(checked, len(samples), description="decoding")
        # That tells why a size is unknown.
        findings = [one for one in findings if one.kind != checks.Kind.NO_SIZE]
        return findings + list(chain.from_iterable(results))


def describe(name: str, whole: Summary, sources: Sequence[Summary]) -> list[str]:
    """Counts, and a bar for each size of faces."""
    from extd.data.check import SIZE_BINS

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
    """Every finding below its kind; only the first of a kind where a file in `out` has all."""
    from extd.data.check import FINDINGS, Kind

    lines = ["", "nothing is wrong" if not findings else count(len(findings), "finding")]
    for kind in Kind:
        own = [finding for finding in findings if finding.kind == kind]
        if not own:
            continue
        shown = own if out is None else own[:LISTED]
        lines += ["", f"{kind}: {len(own):,}", *(f"  {finding}" for finding in shown)]
        if out is not None and len(own) > len(shown):
            lines.append(f"  and {len(own) - len(shown):,} more, in {out / FINDINGS}")
    return [*lines, ""]


def convert_data(
    path: DataSet,
    /,
    *,
    to: Annotated[str, Parameter(metavar="NAME")],
    out: Annotated[Path, Parameter(metavar="PATH")],
    layout: Annotated[Format, Parameter(name="--from")] = None,
    images: Images = None,
    copy: Annotated[bool, Parameter(show_default=False)] = False,
) -> None:
    """Write a dataset in another format.

    jsonl, coco and csv are one file, which names the images where they are. wider, yolo and voc
    are a folder with links to the images. What the format cannot hold is reported.

        extd data convert faces/labels.jsonl --to coco --out faces/coco.json

    Args:
        path: The dataset, in any format of `extd data check`.
        to: Format to write: jsonl, wider, coco, yolo, voc or csv.
        out: File or new folder to write.
        layout: Format of the dataset: jsonl, wider, coco, yolo, voc or csv.
        images: Folder that image names are relative to.
        copy: Copy the images too, instead of linking or naming them where they are.
    """
    from extd.data.datasets import find_format, write_dataset

    with usage_errors():
        find_format(to)
    labeled = read(path, layout, images)
    with counting("writing") as show:
        losses = write_dataset(labeled, out, to, copy, show)
    faces = sum(len(sample.boxes) for sample in labeled)
    console = Console()
    print_line(
        console, f"written: {out}, {count(len(labeled), 'image')} with {count(faces, 'face')}"
    )
    for loss in losses:
        print_line(console, f"lost: {loss}")
