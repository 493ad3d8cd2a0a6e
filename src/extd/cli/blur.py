"""`extd blur`: pictures and videos in; the same with their faces covered out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter, Token
from rich.console import Console

from extd.cli.pictures import (
    INFERENCE,
    Inference,
    Threshold,
    check_folder,
    count_others,
    load_detector,
    protect_originals,
    work_through,
)
from extd.cli.terminal import (
    Folder,
    UsageError,
    count,
    print_error,
    print_line,
    progress_bar,
    usage,
)
from extd.cli.video import (
    Hold,
    Tally,
    check_pyav,
    count_uncovered,
    cover_video,
    result_name,
)
from extd.media.sources import real_path

if TYPE_CHECKING:
    from extd.detector import Detector
    from extd.images import Image
    from extd.media.anonymize import AnonymizeOptions, Region
    from extd.media.sources import Source

RESULTS = Group("Results", sort_key=1)
COVER = Group("How to cover", sort_key=1)

CHECKED_FROM = 0.2
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
    *pictures: Annotated[str, Parameter(required=True)],
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
    hold: Hold = 5,
    threshold: Threshold = 0.3,
    inference: Inference = INFERENCE,
) -> int:
    """Cover the faces in pictures and videos, so that nobody is recognised.

    PICTURES are files, folders (with the folders in them), quoted globs and -, for a list on the
    standard input. Other files in the folders are left alone and counted. What cannot be read is
    reported, the rest goes on, and the exit code is 1. Of animations the first frame is taken.

    Videos need the extra `video`. Their audio stays as it is: voices are not disguised. Subtitles
    and other tracks are left out. Of a broken video, or after Ctrl-C, what could be read is
    written.

        extd blur album --out album-anonymous --check
        extd blur party.mp4 --out blurred --hold 10
        extd blur photo.jpg --out blurred --method solid --shape box

    Args:
        pictures: What to anonymise.
        out: Save the results in this folder, in the same tree: JPEG, PNG and WebP as they were,
            other pictures as PNG; MP4, MOV, MKV and WebM as they were, other videos as MKV.
        in_place: Replace the pictures instead; only JPEG, PNG and WebP.
        keep_metadata: Keep EXIF, with the place and time, and the colour profile of JPEG, PNG,
            WebP and AVIF (EXIF alone), and what a video tells of place, time and camera.
            Thumbnails and makers' notes are never kept.
        check: Look at the results again, for faces of a probability above 0.2, and report
            pictures, and frames of videos, with one that is not covered; the exit code is 1. Many
            will be none.
        method: blur, pixelate (4 cells a face), solid (black), or image.
        image: The picture for the method image.
        shape: What the cover looks like.
        margin: How far it reaches over the box on each side, as a share of the box's own.
        strength: 2 blurs twice as far, or leaves half the cells.
        keep: Leave faces alone whose centre is in this region, in pixels of the upright picture.
        hold: For so many frames a face stays covered where it is missed, and before and after it
            is seen. As many frames are held in memory.
        threshold: Least probability of a face, 0 to below 1. Lower covers more, also what is none.
        inference: How pictures are looked at.
    """
    from extd.images import read_image
    from extd.media.anonymize import AnonymizeOptions
    from extd.media.sources import find_media, find_pictures, is_video, read_list

    if (out is None) != in_place:
        raise UsageError("give either --out DIR or --in-place")
    if hold < 0:
        raise UsageError(f"--hold is {hold}; give 0 or more frames")
    inputs = read_list(pictures, sys.stdin)
    if out is None:
        with usage():
            found_pictures = find_pictures(inputs)
        # Two links to one file would cover it twice, at the same time.
        sources = list({real_path(source.path): source for source in found_pictures}.values())
        for source in sources:
            if is_video(source.path):
                raise UsageError(f"{source.path}: videos are not replaced; give --out DIR")
    else:
        check_folder(out)
        with usage():
            sources = find_media(inputs, out)
        originals = {real_path(source.path) for source in sources}
        protect_originals(originals, out, (result_name(source) for source in sources))
    with usage():
        covering = AnonymizeOptions(
            method=method,
            shape=shape,
            margin=margin,
            strength=strength,
            image=None if image is None else read_image(image),
            keep=keep,
        )
    detector = load_detector(inference, threshold)

    check_pyav(sources)
    videos = sum(is_video(source.path) for source in sources)
    bar = progress_bar("{task.description}", hidden=len(sources) == 1 and not videos)
    table = bar.console if sys.stdout.isatty() and not bar.disable else Console()
    checked_from = min(CHECKED_FROM, threshold) if check else None
    found = failed = bare = 0
    print_line(table, "faces  picture")

    def target_of(source: Source) -> Path:
        return real_path(source.path) if out is None else out / result_name(source)

    def cover(detector: Detector, source: Source, picture: Image) -> Tally:
        return cover_picture(
            detector,
            source,
            picture,
            target_of(source),
            covering,
            keep_metadata=keep_metadata,
            checked_from=checked_from,
        )

    with (
        bar,
        closing(work_through(detector, sources, cover, inference.max_pixels)) as results,
    ):
        for source, result in bar.track(results, total=len(sources), description="covering"):
            if result is None:
                tally = cover_video(
                    detector,
                    source,
                    target_of(source),
                    covering,
                    hold=hold,
                    keep_metadata=keep_metadata,
                    checked_from=checked_from,
                    bar=bar,
                )
            else:
                tally = Tally(error=result) if isinstance(result, Exception) else result
            found += tally.faces
            failed += tally.error is not None
            bare += bool(tally.bare)
            if tally.frames:
                of = f", {count(tally.frames, 'frame')}" if is_video(source.path) else ""
                print_line(table, f"{tally.faces:5}  {source.path}{of}")
            if tally.error is not None:
                print_error(str(tally.error), bar.console)
            if tally.bare:
                told = describe(tally, video=is_video(source.path))
                print_error(f"{source.path}: {told}", bar.console)
    kind = "picture" if not videos else "video" if videos == len(sources) else "file"
    done = f"{count(found, 'face')} in {count(len(sources) - failed, kind)}"
    others = count_others(inputs, sources, out)
    for number, what in ((failed, "failed"), (bare, "with a face not covered")):
        done += f", {number:,} {what}" if number else ""
    if others:
        done += f"; {count(others, 'other file')} left alone"
    print_line(table, done)
    if out is not None and failed < len(sources):
        print_line(table, f"written: {out}")
    return 1 if failed or bare else 0


def cover_picture(
    detector: Detector,
    source: Source,
    image: Image,
    target: Path,
    covering: AnonymizeOptions,
    *,
    keep_metadata: bool,
    checked_from: float | None,
) -> Tally:
    """Write a picture with its faces covered; nothing is written where that fails.

    Args:
        detector: what looks.
        source: the picture.
        image: its pixels, uint8 [H, W, 3], RGB; they are changed.
        target: the file to write, named by `image_name`, or the picture itself.
        covering: how to cover.
        keep_metadata: copy EXIF and colour profile.
        checked_from: look at the result again, for faces of at least this probability.

    Raises:
        ValueError: the picture cannot be replaced, or its metadata not be read.
        OSError: it cannot be written.
    """
    from extd.media.anonymize import anonymize, uncovered
    from extd.media.metadata import NO_METADATA, read_metadata
    from extd.media.writers import check_replaceable, write_image

    metadata = read_metadata(source.path) if keep_metadata else NO_METADATA
    in_place = target == real_path(source.path)
    if in_place:
        check_replaceable(target)
    mode = source.path.stat().st_mode
    faces = detector.detect(image)
    covered = anonymize(image, faces, covering, out=image)
    tally = Tally(frames=1, faces=len(faces))
    if checked_from is not None:
        again = detector.detect(covered, replace(detector.options, threshold=checked_from))
        count_uncovered(tally, uncovered(again, faces, covering))
    write_image(target, covered, metadata)
    if in_place:
        target.chmod(mode)
    return tally


def describe(tally: Tally, *, video: bool) -> str:
    """What was left uncovered."""
    frames = f" in {count(tally.bare, 'frame')}" if video else ""
    more = f" and {tally.left - len(tally.told):,} more" if tally.left > len(tally.told) else ""
    return f"not covered{frames}: " + "; ".join(tally.told) + more
