"""`extd detect`: pictures and videos in; annotated ones, JSON Lines, CSV and a table out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from extd.cli.camera import watch
from extd.cli.pictures import (
    INFERENCE,
    SEARCH,
    Inference,
    Threshold,
    check_folder,
    load_detector,
    protect_originals,
    work_through,
)
from extd.cli.terminal import (
    STDOUT,
    WHOLE_NUMBER,
    Folder,
    Target,
    UsageError,
    count,
    open_results,
    print_error,
    print_line,
    progress_bar,
    usage,
)
from extd.cli.video import (
    FRAME_CSV_HEADER,
    End,
    Every,
    Start,
    Tally,
    check_pyav,
    detect_video,
    frame_csv_lines,
    result_name,
)

if TYPE_CHECKING:
    from extd.detector import Detector
    from extd.faces import Faces
    from extd.images import Image
    from extd.media.sources import Source

UNREAD = frozenset({".jfif", ".jxl", ".jp2", ".psd", ".dng", ".cr2", ".nef", ".arw"})
"""Further pictures, none of which is to be taken for a file of results."""
RESULTS = Group("Results", sort_key=1)


def detect(
    *pictures: Annotated[str, Parameter(required=True)],
    out: Annotated[Folder | None, Parameter(group=RESULTS)] = None,
    json: Annotated[Target, Parameter(group=RESULTS)] = None,
    csv: Annotated[Target, Parameter(group=RESULTS)] = None,
    coco: Annotated[str | None, Parameter(group=RESULTS, metavar="FILE")] = None,
    yolo: Annotated[Folder | None, Parameter(group=RESULTS)] = None,
    wider: Annotated[Folder | None, Parameter(group=RESULTS)] = None,
    threshold: Threshold = 0.5,
    min_face: Annotated[float, Parameter(group=SEARCH, metavar="PX")] = 0,
    max_faces: Annotated[int | None, WHOLE_NUMBER, Parameter(group=SEARCH)] = None,
    inference: Inference = INFERENCE,
    start: Start = 0.0,
    end: End = None,
    every: Every = 1,
) -> int:
    """Find the faces in pictures and videos.

    PICTURES are files, folders (with the folders in them), quoted globs and -, for a list on the
    standard input. A table tells what was found. What cannot be read is reported, the rest goes
    on, and the exit code is 1. Videos need the extra `video`; Ctrl-C ends one in order. Instead,
    camera:0, the first camera of this machine, or an address that begins with rtsp:// is watched:
    the newest frame each time, until Ctrl-C or --end.

        extd detect photo.jpg
        extd detect album --out boxed
        extd detect film.mp4 --out boxed --start 60 --end 90
        extd detect "album/**/*.png" --json faces.jsonl
        extd detect camera:0 --json -

    Args:
        pictures: What to look at.
        out: Save the pictures and videos, with their faces framed, in this folder.
        json: Write JSON Lines, one object a picture or frame, to a file; with - or nothing to the
            standard output.
        csv: Write CSV, one line a face, likewise.
        coco: Write one COCO object, of pictures alone: labels whose annotations have a score.
        yolo: Write YOLO labels into this folder, a text file a picture, without scores.
        wider: Write detections as WIDER FACE's evaluation reads them into this folder, likewise.
        threshold: Least probability of a face, 0 to below 1. Lower finds more, also wrong ones.
        inference: How pictures are looked at.
        min_face: Leave out faces smaller than this, by their longer side.
        max_faces: How many faces a picture gives at most, the best; without it all.
        start: Begin at this time of a video.
        end: End before this time.
        every: Look at every so many-th frame; the others are left out.
    """
    from extd.data.entries import relative_name
    from extd.media.annotate import annotate
    from extd.media.formats import wider_lines, write_text, yolo_lines
    from extd.media.frames import is_camera
    from extd.media.sources import find_media, is_video, read_list, real_path
    from extd.media.video import Span
    from extd.media.writers import (
        CSV_HEADER,
        csv_lines,
        image_name,
        json_line,
        open_coco,
        write_image,
    )

    for folder, option in ((out, "--out"), (yolo, "--yolo"), (wider, "--wider")):
        if folder is not None:
            check_folder(folder, option)
    if yolo is not None and wider is not None and real_path(yolo) == real_path(wider):
        raise UsageError(f"--yolo and --wider both go to {yolo}; choose two folders")
    if any(map(is_camera, pictures)):
        if len(pictures) > 1 or {out, coco, yolo, wider} != {None}:
            raise UsageError("a camera is watched alone, with --json or --csv or neither")
        with usage():
            span = Span(start, end, every)
        detector = load_detector(inference, threshold, min_face=min_face, max_faces=max_faces)
        return watch(detector, pictures[0], span, json, csv)
    with usage():
        sources = find_media(read_list(pictures, sys.stdin), out)
    videos = sum(is_video(source.path) for source in sources)
    protect_pictures(sources, out, {"--json": json, "--csv": csv, "--coco": coco})
    if videos and {coco, yolo, wider} != {None}:
        raise UsageError("--coco, --yolo and --wider are for pictures alone; leave videos out")
    check_pyav(sources)
    with usage():
        span = Span(start, end, every)
        yolo_files = name_texts(sources, yolo)
        wider_files = name_texts(sources, wider)
    detector = load_detector(inference, threshold, min_face=min_face, max_faces=max_faces)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)

    def find(detector: Detector, source: Source, image: Image) -> Faces:
        faces = detector.detect(image)
        if out is not None:
            annotate(image, faces, out=image)
            write_image(out / image_name(source.name), image)
        if yolo_files:
            write_text(yolo_files[source], yolo_lines(faces))
        if wider_files:
            write_text(wider_files[source], wider_lines(source.name, faces))
        return faces

    alone, quiet = len(sources) == 1 and not videos, STDOUT in {json, csv}
    bar = progress_bar("{task.description}", hidden=alone or (quiet and sys.stdout.isatty()))
    # Where bar and table share the terminal, lines must go through the bar.
    shared = sys.stdout.isatty() and not bar.disable
    table = Console(quiet=True) if quiet else bar.console if shared else Console()
    found = failed = 0
    with ExitStack() as stack:
        json_stream = stack.enter_context(open_results(json)) if json else None
        csv_stream = stack.enter_context(open_results(csv)) if csv else None
        add_coco = stack.enter_context(open_coco(Path(coco))) if coco else None
        if csv_stream:
            csv_stream.write(FRAME_CSV_HEADER if videos else CSV_HEADER)
        if not alone:
            print_line(table, "faces   best  picture")
        results = stack.enter_context(
            closing(work_through(detector, sources, find, inference.max_pixels))
        )
        for source, result in stack.enter_context(bar).track(
            results, total=len(sources), description="detecting"
        ):
            if result is None:
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
                if coco and add_coco:
                    add_coco(relative_name(source.path, Path(coco).parent), result)
            if json_stream:
                json_stream.write(json_line(str(source.path), result))
                json_stream.flush()
    kind = "picture" if not videos else "video" if videos == len(sources) else "file"
    done = f"{count(found, 'face')} in {count(len(sources) - failed, kind)}"
    print_line(table, done + (f", {failed} failed" if failed else ""))
    folders = (out, yolo, wider) if failed < len(sources) else ()
    for target in (json, csv, coco, *folders):
        if target is not None:
            print_line(table, f"written: {target}")
    return 1 if failed else 0


def protect_pictures(
    sources: Sequence[Source], out: Path | None, targets: Mapping[str, str | None]
) -> None:
    """Refuse to write over a picture, or two results into one file.

    Raises:
        UsageError: the message names the file.
    """
    from extd.media.sources import VIDEO_SUFFIXES, real_path

    # Looking up a million links takes a while, and many runs write no file.
    needed = out is not None or any(target not in {None, STDOUT} for target in targets.values())
    originals = {real_path(source.path) for source in sources} if needed else set()
    owners: dict[str | Path, str] = {}
    for option, target in targets.items():
        if target is None:
            continue
        place = target if target == STDOUT else real_path(Path(target))
        if isinstance(place, Path) and (place in originals or is_visual(place)):
            kind = "video" if place.suffix.lower() in VIDEO_SUFFIXES else "picture"
            raise UsageError(f"results would replace the {kind} {target}; name another file")
        if place in owners:
            raise UsageError(
                f"{owners[place]} and {option} both go to {target}; choose two files, or one of "
                "them"
            )
        owners[place] = option
    if out is not None:
        protect_originals(originals, out, map(result_name, sources))


def is_visual(path: Path) -> bool:
    """Whether a path is a picture's or video's, by its name or by what the file begins with."""
    from extd.images import image_size
    from extd.media.sources import SUFFIXES, VIDEO_SUFFIXES

    if path.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES | UNREAD:
        return True
    if not path.is_file():
        return False
    with suppress(ValueError):
        return image_size(path) is not None
    return False


def name_texts(sources: Sequence[Source], folder: Path | None) -> dict[Source, Path]:
    """The text file of each picture in the folder; none without a folder.

    Raises:
        ValueError: two pictures would have the same.
    """
    from extd.media.formats import text_files

    if folder is None:
        return {}
    files = text_files(folder, [source.name for source in sources])
    return dict(zip(sources, files, strict=True))


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
