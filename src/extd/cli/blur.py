"""`extd blur`: images and videos in; the same with their faces covered out."""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number

from extd.cli.files import Outcome, Task, run_files
from extd.cli.inference import (
    INFERENCE,
    RESULTS,
    VIDEO,
    Files,
    From0,
    Inference,
    Threshold,
    load_detector,
    read_list,
)
from extd.cli.terminal import WHOLE_NUMBER, Folder, UsageError, clock, count, usage_errors
from extd.detector import Detector
from extd.files import real_path
from extd.images import Image, read_image
from extd.media.anonymize import AnonymizeOptions, Method, Region, Shape
from extd.media.sources import (
    Source,
    check_results,
    find_images,
    find_media,
    is_folder,
    is_video,
)
from extd.pipeline import CHECK_THRESHOLD, OnFrame, Report, blur_animation, blur_image, blur_video


def read_regions(_: object, tokens: Sequence[Token]) -> tuple[Region, ...]:
    """The regions of one or several `--keep`, each like `10,20,110,160`."""
    regions = []
    for token in tokens:
        try:
            x1, y1, x2, y2 = map(float, token.value.split(","))
        except ValueError:
            raise ValueError(f"{token.value!r}; give x1,y1,x2,y2 in pixels") from None
        regions.append((x1, y1, x2, y2))
    return tuple(regions)


KEEP = Parameter(metavar="X1,Y1,X2,Y2", converter=read_regions, n_tokens=1, show_default=False)
QUALITY = Parameter(group=RESULTS, metavar="1-100", validator=Number(gte=1, lte=100))
HOLD = Parameter(group=VIDEO, metavar="FRAMES", validator=Number(gte=0))


@Parameter(name="*", group=Group("How to cover", sort_key=1))
@dataclass(frozen=True, slots=True)
class Cover:
    """How faces are covered, and where results go.

    Attributes:
        out: Save the results in this folder, in the same tree. Images keep their format, except
            that HEIC and BMP become PNG; MP4, MOV, MKV and WebM keep theirs, other videos become
            MKV.
        in_place: Replace the images instead; not HEIC and BMP.
        keep_metadata: Keep EXIF, with place and time, and the color profile of JPEG, PNG, WebP
            and AVIF (EXIF only), and what a video tells of place, time and camera. Thumbnails and
            maker notes are never kept.
        check: Look for faces in the results again, from a probability of 0.2, then cover these,
            too, and report them. This takes twice the time. Some of them are not faces.
        quality: Quality of JPEG, AVIF and WebP, 1 to 100, except of animations. By default JPEG
            keeps that of the original, AVIF is written with 90 and WebP lossless.
        method: blur, pixelate (4 cells per face), solid (black), or image.
        image: The image for the method image.
        shape: The shape of a cover.
        margin: How far it extends over the box on each side, as a share of the box's own.
        strength: 2 blurs twice as far, or leaves half the cells.
        keep: Do not cover faces whose center is in this region, in pixels of the upright image.
        hold: For so many frames a face stays covered where it is missed, and before and after it
            is seen. As many frames are held in memory.
    """

    out: Annotated[Folder | None, Parameter(group=RESULTS)] = None
    in_place: Annotated[bool, Parameter(group=RESULTS)] = False
    keep_metadata: Annotated[bool, Parameter(group=RESULTS)] = False
    check: Annotated[bool, Parameter(group=RESULTS, negative="--no-check")] = True
    quality: Annotated[int | None, WHOLE_NUMBER, QUALITY] = None
    method: Method = "blur"
    image: Annotated[Path | None, Parameter(metavar="FILE")] = None
    shape: Shape = "ellipse"
    margin: float = 0.25
    strength: float = 1.0
    keep: Annotated[tuple[Region, ...], KEEP] = ()
    hold: Annotated[int, WHOLE_NUMBER, HOLD] = 5

    def options(self) -> AnonymizeOptions:
        """The library's options, with the image read."""
        image = None if self.image is None else read_image(self.image)
        return AnonymizeOptions(
            self.method, self.shape, self.margin, self.strength, image, self.keep
        )


DEFAULT = Cover()


def blur(
    *files: Files,
    cover: Cover = DEFAULT,
    threshold: Threshold = 0.3,
    inference: Inference = INFERENCE,
    from0: From0 = False,
) -> int:
    """Cover the faces in images and videos, so that nobody is recognized.

    Other files in the folders are left alone and counted. A file that cannot be read is reported,
    the rest goes on, and the exit code is 1. Animations and documents keep all frames and pages.

    Videos need the extra `video`. Their audio stays as it is: voices are not disguised. Subtitles
    and other tracks are left out. Of a broken video, or after Ctrl-C, what could be read is
    written.

        extd blur album --out album-anonymous
        extd blur party.mp4 --out blurred --hold 10
        extd blur photo.jpg --out blurred --method solid --shape box
    """
    if (cover.out is None) != cover.in_place:
        raise UsageError("give either --out DIR or --in-place")
    with usage_errors():
        inputs = read_list(files, sys.stdin, nul=from0)
        sources = find_sources(inputs, cover.out)
        options = cover.options()
    detector = load_detector(inference, threshold)
    others = count_others(inputs, sources, cover.out)
    note = f"; {count(others, 'other file')} left alone" if others else ""
    task = covering(cover, options, detector, note)
    return run_files(task, sources, detector, inference.max_pixels)


def covering(cover: Cover, options: AnonymizeOptions, detector: Detector, note: str) -> Task:
    """Cover the faces of each file, in the folder or in place; the detector is for videos."""
    threshold = CHECK_THRESHOLD if cover.check else None

    def target(source: Source) -> Path:
        return source.path if cover.out is None else cover.out / source.result

    def on_image(detector: Detector, source: Source, image: Image) -> Outcome:
        report = blur_image(
            source.path,
            target(source),
            detector,
            options,
            image=image,
            keep_metadata=cover.keep_metadata,
            check_threshold=threshold,
            quality=cover.quality,
        )
        return describe(source, report)

    def on_video(source: Source, on_frame: OnFrame) -> Outcome:
        blur_frames = blur_video if is_video(source.path) else blur_animation
        report = blur_frames(
            source.path,
            target(source),
            detector,
            options,
            gap=cover.hold,
            keep_metadata=cover.keep_metadata,
            check_threshold=threshold,
            on_frame=on_frame,
        )
        return describe(source, report)

    return Task("covering", "faces  file", on_image, on_video, [cover.out], note=note)


def describe(source: Source, report: Report) -> Outcome:
    """What to print about a file."""
    several = is_video(source.path) or report.frames > 1
    frames = f", {count(report.frames, 'frame')}" if several else ""
    rows = [f"{report.faces:5}  {source.path}{frames}"] if report.frames else []
    notes = [describe_again(source.path, report)] if report.again else []
    notes += [f"{source.path}: {note}" for note in report.notes]
    return Outcome(report.faces, rows, report.error, notes=notes)


def describe_again(path: Path, report: Report) -> str:
    """What a second look covered, as in `a.png: also covered: 0.31 at 10,20,30,40`."""
    video = is_video(path) or report.frames > 1
    shown = []
    for face, time in report.again:
        box = ",".join(f"{value:.0f}" for value in face.box)
        shown.append((f"{clock(time)}: " if video else "") + f"{face.score:.2f} at {box}")
    frames = f" in {count(report.again_frames, 'frame')}" if video else ""
    rest = report.again_faces - len(shown)
    more = f" and {rest:,} more" if rest else ""
    return f"{path}: also covered after a second look{frames}: {'; '.join(shown)}{more}"


def find_sources(inputs: Iterable[str], out: Path | None) -> list[Source]:
    """The images and videos to cover; without a folder for results, only images, each once."""
    if out is not None:
        sources = find_media(inputs, out)
        check_results(sources, out)
        return sources
    # Two links to one file would cover it twice, at the same time.
    originals = {real_path(source.path): source for source in find_images(inputs)}
    for source in originals.values():
        if is_video(source.path):
            raise ValueError(f"{source.path}: videos are not replaced; give --out DIR")
    return list(originals.values())


def count_others(inputs: Iterable[str], sources: Sequence[Source], results: Path | None) -> int:
    """How many files in the folders among `inputs` are not sources.

    Hidden files, and what an earlier run left in `results`, do not count.
    """
    left_out = None if results is None else real_path(results)
    others = set()
    for folder in filter(is_folder, map(Path, inputs)):
        for parent, folders, names in os.walk(folder):
            below = [(name, real_path(Path(parent, name))) for name in folders]
            folders[:] = [name for name, real in below if name[0] != "." and real != left_out]
            others |= {Path(parent, name).absolute() for name in names if name[0] != "."}
    return len(others - {source.path.absolute() for source in sources})
