"""`extd data`: labelled pictures checked, converted and packed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from extd.cli.terminal import (
    WHOLE_NUMBER,
    Folder,
    UsageError,
    count,
    print_error,
    print_line,
    progress_bar,
    usage,
)
from extd.readahead import check_threads

if TYPE_CHECKING:
    from extd.data.check import Finding, Tally
    from extd.data.sample import Sample

LISTED = 10
"""Findings of one kind that are printed where a file has them all."""
BAR = 40
"""Characters of the longest bar."""

DataSet = Annotated[Path, Parameter(metavar="PATH")]
Format = Annotated[str | None, Parameter(metavar="NAME", show_default="recognised")]
Images = Annotated[Folder | None, Parameter(show_default="as the labels say")]
Workers = Annotated[int, WHOLE_NUMBER, Parameter(show_default="one a core")]


def read(path: Path, layout: str | None, images: Path | None) -> list[Sample]:
    """The pictures of a data set, with a bar where their sizes must be read from the files.

    Raises:
        UsageError: there is no such format.
    """
    from extd.data.datasets import find_format, read_dataset

    if layout is not None:
        with usage():
            find_format(layout)
    with counting("reading sizes") as show:
        return read_dataset(path, layout, images, show)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar, and the function to be told how many are done and of how many."""
    with progress_bar(what, hidden=False) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def count_of(pictures: int, faces: int) -> str:
    """As in `2 pictures with 1 face`."""
    return f"{count(pictures, 'picture')} with {count(faces, 'face')}"


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
    threads: Workers = 0,
) -> int:
    """Tell what is in a data set, and what is probably wrong with it.

    Counts pictures and faces, by size and source, and names every box without area, given twice
    or reaching beyond its picture, and every picture that is listed twice, missing, unreadable,
    of another size than its labels say or equal to another. The exit code is 1 if there is any.
    PATH is a label file or a folder: labels.jsonl, WIDER FACE, COCO, YOLO, Pascal VOC or CSV.

        extd data check faces/labels.jsonl --out look

    Args:
        path: The data set.
        layout: Its format: jsonl, wider, coco, yolo, voc or csv.
        images: Folder that picture names are relative to.
        out: Write findings.csv, sizes.png and sheet.jpg, samples with their boxes, to this
            folder.
        labels_only: Open no picture: faster, and tells of the labels alone.
        samples: How many pictures the sheet shows.
        seed: Which they are.
        threads: How many pictures are decoded at once.
    """
    from extd.data.check import (
        Kind,
        check_files,
        check_labels,
        tally,
        tally_by_source,
        write_findings,
    )
    from extd.data.datasets import check_new_files
    from extd.data.sheet import MOST_SAMPLES, draw_histogram, draw_sheet

    if not 1 <= samples <= MOST_SAMPLES:
        raise UsageError(f"--samples is {samples}; give 1 or more, up to {MOST_SAMPLES}")
    if seed < 0:
        raise UsageError(f"--seed is {seed}; give 0 or more")
    with usage():
        check_threads(threads, "--threads")
    pictures = read(path, layout, images)
    written: list[Path] = []
    if out is not None:
        written = [out / "findings.csv", out / "sizes.png", out / "sheet.jpg"]
        written = written[:2] if labels_only else written
        with usage():
            check_new_files(written, pictures, path, layout, images)
    console = Console()
    whole, tallies = tally(pictures), tally_by_source(pictures)
    for line in describe(str(path), whole, tallies):
        print_line(console, line)
    findings = list(check_labels(pictures))
    if not labels_only:
        with progress_bar("decoding", hidden=False) as bar:
            looked = bar.track(check_files(pictures, threads), total=len(pictures))
            # That tells why a size is not known.
            findings = [one for one in findings if one.kind != Kind.NO_SIZE]
            findings += chain.from_iterable(looked)
    table = None if out is None else out / "findings.csv"
    for line in list_findings(findings, table):
        print_line(console, line)
    if sum(one.kind == Kind.MISSING for one in findings) == len(pictures):
        print_line(console, "no picture is there: give --images, the folder that has them\n")
    if out is not None and table is not None:
        from extd.media.writers import write_image

        write_findings(table, findings)
        title = count_of(whole.pictures, whole.faces)
        write_image(out / "sizes.png", draw_histogram(tallies, title))
        if not labels_only:
            write_image(out / "sheet.jpg", draw_sheet(pictures, samples, seed=seed))
        for file in written:
            print_line(console, f"written: {file}")
    return 1 if findings else 0


def describe(name: str, whole: Tally, tallies: Sequence[Tally]) -> list[str]:
    """Counts, and a bar for each size of faces."""
    from extd.data.check import SIZES

    lines = [
        f"{name}: {count(whole.pictures, 'picture')}, {whole.without_faces:,} of them without "
        f"faces; {count(whole.faces, 'face')}, {count(whole.ignored, 'ignored region')}",
        "",
        "faces by size, the square root of their area in px",
    ]
    highest = max(int(whole.sizes.max()), 1)
    for size, number in zip(SIZES, whole.sizes.tolist(), strict=True):
        if number or size != SIZES[0]:
            bar = "#" * -(-number * BAR // highest)
            lines.append(f"  {size:>8} {number:9,}  {bar}".rstrip())
    if len(tallies) > 1:
        width = max(len(one.source) for one in tallies)
        head = ["pictures", "faces", *SIZES[1:], "ignored"]
        lines += ["", " ".join(["source".ljust(width), *(f"{word:>8}" for word in head)])]
        for one in tallies:
            numbers = [one.pictures, one.faces, *one.sizes[1:].tolist(), one.ignored]
            cells = [f"{number:8,}" for number in numbers]
            lines.append(" ".join([one.source.ljust(width), *cells]))
    return lines


def list_findings(findings: Sequence[Finding], table: Path | None) -> list[str]:
    """Every finding below its kind; the first of a kind where the file `table` has them all."""
    from extd.data.check import Kind

    lines = ["", "nothing is wrong" if not findings else count(len(findings), "finding")]
    for kind in Kind:
        own = [finding for finding in findings if finding.kind == kind]
        if not own:
            continue
        shown = own if table is None else own[:LISTED]
        lines += ["", f"{kind}: {len(own):,}", *(f"  {finding}" for finding in shown)]
        if len(own) > len(shown):
            lines.append(f"  and {len(own) - len(shown):,} more, in {table}")
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
    """Write a data set in another format.

    jsonl, coco and csv are one file, which names the pictures where they are. wider, yolo and voc
    are a folder with links to the pictures. What the format cannot hold is told.

        extd data convert faces/labels.jsonl --to coco --out faces/coco.json

    Args:
        path: The data set, in any format of `extd data check`.
        to: Format to write: jsonl, wider, coco, yolo, voc or csv.
        out: File or new folder to write.
        layout: Format of the data set: jsonl, wider, coco, yolo, voc or csv.
        images: Folder that picture names are relative to.
        copy: Copy the pictures too, instead of linking or naming them where they are.
    """
    from extd.data.datasets import find_format, write_dataset

    with usage():
        find_format(to)
    pictures = read(path, layout, images)
    with counting("writing") as show:
        losses = write_dataset(pictures, out, to, copy, show)
    faces = sum(len(picture.boxes) for picture in pictures)
    console = Console()
    print_line(console, f"written: {out}, {count_of(len(pictures), faces)}")
    for loss in losses:
        print_line(console, f"lost: {loss}")


def pack(
    path: DataSet,
    /,
    *,
    out: Folder,
    parts: Annotated[bool, Parameter(show_default=False)] = False,
    max_mib: Annotated[float | None, Parameter(metavar="MIB", show_default="55")] = None,
    layout: Annotated[Format, Parameter(name="--format")] = None,
    images: Images = None,
    encoding: Literal["avif", "webp", "jpg"] = "avif",
    quality: Annotated[int, WHOLE_NUMBER] = 50,
    smallest_face: Annotated[float, Parameter(metavar="PX")] = 24,
    longest: Annotated[int, WHOLE_NUMBER, Parameter(metavar="PX")] = 640,
    threads: Workers = 0,
) -> int:
    """Make a data set small, for a machine with little bandwidth.

    Pictures whose faces are all large are shrunk, labels with them; all are compressed. A picture
    that cannot be read is reported and left out, and the exit code is then 1.

        extd data pack faces/labels.jsonl --out packed --parts --max-mib 55
        extd data unpack packed/part-*.zip --out faces

    Args:
        path: The data set, in any format of `extd data check`.
        out: A new folder, for pictures and labels.jsonl or for the parts.
        parts: Write zip archives part-000.zip and so on. Each is a data set of its own and a
            random sample of the whole.
        max_mib: No part is larger.
        layout: Format of the data set: jsonl, wider, coco, yolo, voc or csv.
        images: Folder that picture names are relative to.
        encoding: How pictures are compressed.
        quality: 1 to 100. Lower is smaller.
        smallest_face: A picture is shrunk only so far that the shorter side of its smallest face
            keeps this length.
        longest: Nor does its longer side become shorter than this.
        threads: How many pictures are compressed at once.
    """
    from extd.data import pack as packing

    if max_mib is not None and not parts:
        raise UsageError("--max-mib limits parts: give --parts too, or leave it out")
    if max_mib is not None and not packing.is_limit(max_mib):
        raise UsageError(f"--max-mib is {max_mib}; give a finite size above 0 MiB")
    with usage():
        check_threads(threads, "--threads")
        choice = packing.Packing(encoding, quality, smallest_face, longest)
    pictures = read(path, layout, images)
    limit = (55.0 if max_mib is None else max_mib) if parts else None
    with counting("packing") as show:
        done = packing.pack(pictures, out, choice, limit, threads, show)
    for failure in done.failures:
        print_error(failure)
    console = Console()
    packed = count_of(done.pictures, done.faces)
    print_line(console, f"packed: {packed}, {done.shrunk:,} shrunk, {done.copied:,} as they were")
    share = done.after / max(done.before, 1)
    sizes = f"{mib(done.before)} before, {mib(done.after)} after"
    print_line(console, f"pictures: {sizes}, {share:.0%}")
    for file in done.files:
        print_line(console, f"written: {file}, {mib(file.stat().st_size)}")
    if parts:
        command = f"extd data unpack {out}/part-*.zip --out FOLDER"
        print_line(console, f"to use them, all or some: {command}")
    return 1 if done.failures else 0


def mib(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / (1 << 20):,.1f} MiB"


def unpack(
    *parts: Annotated[Path, Parameter(required=True, metavar="PART.zip")], out: Folder
) -> None:
    """Unpack what `extd data pack --parts` wrote into one data set.

    Any of the parts will do, and others may be added to the folder later.

        extd data unpack packed/part-*.zip --out faces

    Args:
        parts: The archives.
        out: Folder for the pictures and their labels.jsonl.
    """
    from extd.data import pack as packing
    from extd.data.labels import NAME

    with progress_bar("unpacking", hidden=False) as bar:
        pictures = packing.unpack(bar.track(parts), out)
    print_line(Console(), f"{out / NAME} has {count(pictures, 'picture')}")
