"""`extd detect`: pictures and videos in; annotated ones, JSON Lines, CSV and a table out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from extd.catalog import DEFAULT_MODEL
from extd.cli.pictures import (
    SEARCH,
    Flip,
    Longest,
    Scales,
    Threshold,
    check_folder,
    protect_originals,
    with_picture,
)
from extd.cli.terminal import (
    STDOUT,
    Folder,
    Model,
    Provider,
    Target,
    Threads,
    UsageError,
    count,
    open_results,
    print_error,
    print_line,
    usage,
)
from extd.cli.video import (
    FRAME_CSV_HEADER,
    End,
    Every,
    Start,
    Tally,
    detect_video,
    frame_csv_lines,
    media_bar,
    result_name,
)

if TYPE_CHECKING:
    from extd.detector import Detector
    from extd.faces import Faces
    from extd.images import Image
    from extd.media.sources import Source

RESULTS = Group("Results", sort_key=1)


def detect(
    *pictures: Annotated[str, Parameter(required=True)],
    out: Annotated[Folder | None, Parameter(group=RESULTS)] = None,
    json: Annotated[Target, Parameter(group=RESULTS)] = None,
    csv: Annotated[Target, Parameter(group=RESULTS)] = None,
    threshold: Threshold = 0.5,
    min_face: Annotated[float, Parameter(group=SEARCH, metavar="PX")] = 0,
    max_faces: Annotated[int, Parameter(group=SEARCH)] = 750,
    longest: Longest = None,
    scales: Scales = (1.0,),
    flip: Flip = False,
    start: Start = 0.0,
    end: End = None,
    every: Every = 1,
    model: Model = DEFAULT_MODEL,
    threads: Threads = 0,
    provider: Provider = None,
) -> int:
    """Find the faces in pictures and videos.

    PICTURES are files, folders (with the folders in them), quoted globs and -, for a list on the
    standard input. A table tells what was found. What cannot be read is reported, the rest goes
    on, and the exit code is 1. Videos need the extra `video`; Ctrl-C ends one in order.

        extd detect photo.jpg
        extd detect album --out boxed
        extd detect film.mp4 --out boxed --start 60 --end 90
        extd detect "album/**/*.png" --json faces.jsonl

    Args:
        pictures: What to look at.
        out: Save the pictures and videos, with their faces framed, in this folder.
        json: Write JSON Lines, one object a picture or frame, to a file; with - or nothing to the
            standard output.
        csv: Write CSV, one line a face, likewise.
        threshold: Least probability of a face, 0 to below 1. Lower finds more, also wrong ones.
        min_face: Leave out faces smaller than this, by their longer side.
        max_faces: How many faces a picture gives at most, the best.
        longest: Resize pictures to this longer side first. Smaller is faster and finds less.
        scales: Look at each picture in several sizes, as in 0.5,1,2. Above 1 finds smaller faces,
            below 1 larger ones.
        flip: Look at the mirrored picture too: finds a little more in twice the time.
        start: Begin at this time of a video.
        end: End before this time.
        every: Look at every so many-th frame; the others are left out.
        model: A model that `extd models` lists, or an .onnx file.
        threads: How many threads compute.
        provider: Execution provider of ONNX Runtime; `extd doctor` tells which work here.
    """
    from extd.detector import Detector, Options
    from extd.media.sources import find_media, is_video, read_list
    from extd.media.video import Span, pyav
    from extd.media.writers import CSV_HEADER, csv_lines, json_line

    if out is not None:
        check_folder(out)
    sources = find_media(read_list(pictures, sys.stdin), out)
    protect_pictures(sources, out, json, csv)
    videos = sum(is_video(source.path) for source in sources)
    if videos:
        pyav()
    with usage():
        span = Span(start, end, every)
        options = Options(
            threshold=threshold,
            min_face=min_face,
            max_faces=max_faces,
            longest=longest,
            scales=scales,
            flip=flip,
        )
        providers = None if provider is None else [provider]
        detector = Detector(model, options=options, threads=threads, providers=providers)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)

    alone, quiet = len(sources) == 1 and not videos, STDOUT in {json, csv}
    bar = media_bar("detecting", hidden=alone or (quiet and sys.stdout.isatty()))
    # Where bar and table share the terminal, lines must go through the bar.
    shared = sys.stdout.isatty() and not bar.disable
    table = Console(quiet=True) if quiet else bar.console if shared else Console()
    found = failed = 0
    with ExitStack() as stack:
        json_stream = stack.enter_context(open_results(json)) if json else None
        csv_stream = stack.enter_context(open_results(csv)) if csv else None
        if csv_stream:
            csv_stream.write(FRAME_CSV_HEADER if videos else CSV_HEADER)
        if not alone:
            print_line(table, "faces   best  picture")
        for source in stack.enter_context(bar).track(sources, description="detecting"):
            if is_video(source.path):
                tally = detect_video(
                    detector,
                    source,
                    span,
                    out=out,
                    json_stream=json_stream,
                    csv_stream=csv_stream,
                    bar=bar,
                )
                found += tally.faces
                if tally.frames:
                    print_line(table, video_row(source, tally))
                if tally.error is not None:
                    failed += 1
                    print_error(str(tally.error), bar.console)
                continue
            result = detect_one(detector, source, out)
            if isinstance(result, Exception):
                failed += 1
                print_error(str(result), bar.console)
            else:
                found += len(result)
                for line in face_rows(source, result) if alone else [picture_row(source, result)]:
                    print_line(table, line)
                if csv_stream:
                    path = str(source.path)
                    lines = (
                        frame_csv_lines(path, 0, 0, result) if videos else csv_lines(path, result)
                    )
                    csv_stream.write(lines)
                    csv_stream.flush()
            if json_stream:
                json_stream.write(json_line(str(source.path), result))
                json_stream.flush()
    kind = "picture" if not videos else "video" if videos == len(sources) else "file"
    done = f"{count(found, 'face')} in {count(len(sources) - failed, kind)}"
    print_line(table, done + (f", {failed} failed" if failed else ""))
    for target in (out, json, csv):
        if target is not None:
            print_line(table, f"written: {target}")
    return 1 if failed else 0


def protect_pictures(
    sources: Sequence[Source], out: Path | None, json: str | None, csv: str | None
) -> None:
    """Refuse to write over a picture, or two results into one file.

    Raises:
        UsageError: the message names the file.
    """
    from extd.media.sources import SUFFIXES, VIDEO_SUFFIXES

    files = [target for target in (json, csv) if target is not None]
    for target in files:
        if (suffix := Path(target).suffix.lower()) in SUFFIXES | VIDEO_SUFFIXES:
            kind = "picture" if suffix in SUFFIXES else "video"
            raise UsageError(f"results would replace the {kind} {target}; name another file")
    ordinary = [Path(target).resolve() for target in files if target != STDOUT]
    if len(set(ordinary)) < len(ordinary) or files.count(STDOUT) > 1:
        raise UsageError(
            f"--json and --csv both go to {files[0]}; choose two files, or one of them"
        )
    if out is not None:
        protect_originals(sources, out, map(result_name, sources))


def detect_one(detector: Detector, source: Source, out: Path | None) -> Faces | Exception:
    """The faces of a picture, which is saved annotated in `out`, or why that failed."""
    from extd.media.annotate import annotate
    from extd.media.writers import picture_name, write_picture

    def find(image: Image) -> Faces:
        faces = detector.detect(image)
        if out is not None:
            write_picture(out / picture_name(source.name), annotate(image, faces))
        return faces

    return with_picture(source, find)


def picture_row(source: Source, faces: Faces) -> str:
    """A picture's line in the table of several."""
    best = f"{faces.scores.max():.2f}" if len(faces) else "-"
    return f"{len(faces):5} {best:>6}  {source.path}"


def video_row(source: Source, tally: Tally) -> str:
    """A video's line in the table: its faces, all together, and the best of them."""
    best = f"{tally.best:.2f}" if tally.faces else "-"
    return f"{tally.faces:5} {best:>6}  {source.path}, {count(tally.frames, 'frame')}"


def face_rows(source: Source, faces: Faces) -> list[str]:
    """The table of one picture: a line a face."""
    rows = [f"{source.path}, {faces.width} x {faces.height} px"]
    if len(faces):
        rows.append("score       x1       y1       x2       y2")
    for face in faces:
        rows.append(f"{face.score:5.2f} " + " ".join(f"{value:8.1f}" for value in face.box))
    return rows
