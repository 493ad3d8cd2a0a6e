"""`extd blur`: images and videos in; the same with their faces covered out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter, Token

from extd.cli.inference import INFERENCE, Inference, Threshold, load_detector
from extd.cli.terminal import (
    WHOLE_NUMBER,
    Folder,
    UsageError,
    check_folder,
    check_pyav,
    clock,
    count,
    count_files,
    frame_progress,
    print_error,
    print_line,
    progress_bar,
    table_console,
    usage_errors,
)
from extd.files import real_path

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from extd.detector import Detector
    from extd.images import Image
    from extd.media.anonymize import Region
    from extd.media.sources import Source
    from extd.pipeline import Report

RESULTS = Group("Results", sort_key=1)
COVER = Group("How to cover", sort_key=1)
VIDEO = Group("Videos", sort_key=3)

CHECK_THRESHOLD = 0.2
"""Least probability of a face that `--check` reports."""


def read_regions(_: object, tokens: Sequence[Token]) -> tuple[Region, ...]:
    """The regions of one or several `--keep`, each like `10,20,110,160`."""
    regions = []
    for token in tokens:
        try:
            x1, y1, x2, y2 = map(float, token.value.split(","))
        except ValueError:
            raise UsageError(
                f"--keep is {token.value}; give x1,y1,x2,y2 in pixels, as 10,20,110,160"
            ) from None
        regions.append((x1, y1, x2, y2))
    return tuple(regions)


KEEP = Parameter(
    group=COVER,
    metavar="X1,Y1,X2,Y2",
    converter=read_regions,
    n_tokens=1,
    show_default=False,
)


def blur(
    *files: Annotated[str, Parameter(required=True)],
    out: Annotated[Folder | None, Parameter(group=RESULTS)] = None,
    in_place: Annotated[bool, Parameter(group=RESULTS, show_default=False)] = False,
    keep_metadata: Annotated[bool, Parameter(group=RESULTS, show_default=False)] = False,
    check: Annotated[bool, Parameter(group=RESULTS, show_default=False)] = False,
    method: Annotated[
        Literal["blur", "pixelate", "solid", "image"], Parameter(group=COVER)
    ] = "blur",
    image: Annotated[Path | None, Parameter(group=COVER, metavar="FILE")] = None,
    shape: Annotated[Literal["ellipse", "box"], Parameter(group=COVER)] = "ellipse",
    margin: Annotated[float, Parameter(group=COVER)] = 0.25,
    strength: Annotated[float, Parameter(group=COVER)] = 1.0,
    keep: Annotated[tuple[tuple[float, float, float, float], ...], KEEP] = (),
    hold: Annotated[int, WHOLE_NUMBER, Parameter(group=VIDEO, metavar="FRAMES")] = 5,
    threshold: Threshold = 0.3,
    inference: Inference = INFERENCE,
) -> int:
    """Cover the faces in images and videos, so that nobody is recognized.

    FILES are files, folders (with their subfolders), quoted globs and -, for a list on standard
    input. Other files in the folders are left alone and counted. A file that cannot be read is
    reported, the rest goes on, and the exit code is 1. Of animations only the first frame is
    written.

    Videos need the extra `video`. Their audio stays as it is: voices are not disguised. Subtitles
    and other tracks are left out. Of a broken video, or after Ctrl-C, what could be read is
    written.

        extd blur album --out album-anonymous --check
        extd blur party.mp4 --out blurred --hold 10
        extd blur photo.jpg --out blurred --method solid --shape box

    Args:
        files: What to anonymize.
        out: Save the results in this folder, in the same tree. JPEG, PNG and WebP keep their
            format, other images become PNG; MP4, MOV, MKV and WebM keep theirs, other videos
            become MKV.
        in_place: Replace the images instead; only JPEG, PNG and WebP.
        keep_metadata: Keep EXIF, with place and time, and the color profile of JPEG, PNG, WebP
            and AVIF (EXIF only), and what a video tells of place, time and camera. Thumbnails and
            maker notes are never kept.
        check: Look for uncovered faces in the results, with a probability above 0.2, and report
            images and frames that have one; the exit code is 1. Many of these are not faces.
        method: blur, pixelate (4 cells per face), solid (black), or image.
        image: The image for the method image.
        shape: The shape of a cover.
        margin: How far it extends over the box on each side, as a share of the box's own.
        strength: 2 blurs twice as far, or leaves half the cells.
        keep: Do not cover faces whose center is in this region, in pixels of the upright image.
        hold: For so many frames a face stays covered where it is missed, and before and after it
            is seen. As many frames are held in memory.
        threshold: Least probability of a face, 0 to below 1. Lower values cover more, including
            things that are not faces.
        inference: How faces are detected.
    """
    from extd.batch import check_targets, process_files, result_name
    from extd.images import read_image
    from extd.media.anonymize import AnonymizeOptions
    from extd.media.sources import find_media, is_video, read_list
    from extd.pipeline import blur_image, blur_video

    if (out is None) != in_place:
        raise UsageError("give either --out DIR or --in-place")
    if hold < 0:
        raise UsageError(f"--hold is {hold}; give 0 or more frames")
    inputs = read_list(files, sys.stdin)
    if out is None:
        sources = find_originals(inputs)
    else:
        check_folder(out)
        with usage_errors():
            sources = find_media(inputs, out)
            check_targets(sources, out)
    with usage_errors():
        cover = None if image is None else read_image(image)
        options = AnonymizeOptions(method, shape, margin, strength, cover, keep)
    detector = load_detector(inference, threshold)
    check_pyav(sources)
    check_threshold = min(CHECK_THRESHOLD, threshold) if check else None

    def on_image(detector: Detector, source: Source, pixels: Image) -> Report:
        return blur_image(
            source.path,
            source.path if out is None else out / result_name(source),
            detector,
            options,
            image=pixels,
            keep_metadata=keep_metadata,
            check_threshold=check_threshold,
        )

    def on_video(source: Source) -> Report:
        target = Path() if out is None else out / result_name(source)
        with frame_progress(bar, source.path.name) as advance:
            return blur_video(
                source.path,
                target,
                detector,
                options,
                gap=hold,
                keep_metadata=keep_metadata,
                check_threshold=check_threshold,
                on_frame=advance,
            )

    alone = len(sources) == 1 and not is_video(sources[0].path)
    bar = progress_bar("{task.description}", hidden=alone)
    table = table_console(bar)
    print_line(table, "faces  file")
    processed = process_files(sources, detector, on_image, on_video, inference.max_pixels)
    with bar, closing(processed):
        tracked = bar.track(processed, len(sources), description="covering")
        found, failed, uncovered = print_reports(tracked, bar, table)
    done = f"{count(found, 'face')} in {count_files(sources, failed)}"
    for number, what in ((failed, "failed"), (uncovered, "with a face not covered")):
        done += f", {number:,} {what}" if number else ""
    others = count_others(inputs, sources, out)
    if others:
        done += f"; {count(others, 'other file')} left alone"
    print_line(table, done)
    if out is not None and failed < len(sources):
        print_line(table, f"written: {out}")
    return 1 if failed or uncovered else 0


def print_reports(
    processed: Iterable[tuple[Source, Report | Exception]], bar: Progress, table: Console
) -> tuple[int, int, int]:
    """Print what became of each file; how many faces, failures and files with a face uncovered."""
    from extd.media.sources import is_video
    from extd.pipeline import Report

    found = failed = uncovered = 0
    for source, result in processed:
        video = is_video(source.path)
        report = result if isinstance(result, Report) else Report(error=result)
        found += report.faces
        failed += report.error is not None
        uncovered += bool(report.uncovered)
        if report.frames:
            frames = f", {count(report.frames, 'frame')}" if video else ""
            print_line(table, f"{report.faces:5}  {source.path}{frames}")
        if report.error is not None:
            print_error(str(report.error), bar.console)
        if report.uncovered:
            print_error(f"{source.path}: {describe_uncovered(report, video=video)}", bar.console)
    return found, failed, uncovered


def find_originals(inputs: Iterable[str]) -> list[Source]:
    """The images to replace, each file once.

    Raises:
        UsageError: there is a video among them.
    """
    from extd.media.sources import find_images, is_video

    with usage_errors():
        found = find_images(inputs)
    # Two links to one file would cover it twice, at the same time.
    sources = list({real_path(source.path): source for source in found}.values())
    for source in sources:
        if is_video(source.path):
            raise UsageError(f"{source.path}: videos are not replaced; give --out DIR")
    return sources


def describe_uncovered(report: Report, *, video: bool) -> str:
    """The first uncovered faces, as in `not covered: 0.31 at 10,20,30,40`."""
    told = []
    for face, time in report.uncovered:
        box = ",".join(f"{value:.0f}" for value in face.box)
        told.append((f"{clock(time)}: " if video else "") + f"{face.score:.2f} at {box}")
    frames = f" in {count(report.uncovered_frames, 'frame')}" if video else ""
    rest = report.uncovered_faces - len(told)
    return f"not covered{frames}: " + "; ".join(told) + (f" and {rest:,} more" if rest else "")


def count_others(
    inputs: Iterable[str], sources: Sequence[Source], results: Path | None = None
) -> int:
    """How many files in the folders among `inputs` are not sources.

    Hidden files, and what an earlier run left in `results`, do not count.
    """
    from extd.media.sources import is_folder

    files = set()
    for folder in filter(is_folder, map(Path, inputs)):
        for parent, folders, names in os.walk(folder):
            folders[:] = [
                name
                for name in folders
                if not name.startswith(".")
                and (results is None or real_path(Path(parent, name)) != real_path(results))
            ]
            files |= {Path(parent, name).absolute() for name in names if not name.startswith(".")}
    return len(files - {source.path.absolute() for source in sources})
