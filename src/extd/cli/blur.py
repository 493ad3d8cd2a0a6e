"""`extd blur`: images and videos in; the same with their faces covered out."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number

from extd.blur import (
    CHECK_THRESHOLD,
    THRESHOLD,
    BlurOptions,
    FaceFinder,
    blur_animation,
    blur_image,
    blur_threshold,
    blur_video,
)
from extd.cli.files import Outcome, Task, run_files
from extd.cli.inference import (
    ALL,
    INFERENCE,
    RESULTS,
    VIDEO,
    Files,
    Frames,
    From0,
    Inference,
    MaxFaces,
    Threshold,
    load_detector,
    read_list,
)
from extd.cli.outputs import Outputs, open_outputs, protect_originals
from extd.cli.terminal import WHOLE_NUMBER, Folder, Target, UsageError, clock, count, usage_errors
from extd.detector import Detector
from extd.faces import Faces
from extd.files import SUFFIXES, real_path
from extd.images import Reduced, read_image
from extd.media.anonymize import AnonymizeOptions, Method, Region, Shape
from extd.media.audio import AudioMode
from extd.media.recorded import RecordedFaces, read_faces
from extd.media.sources import (
    VIDEO_SUFFIXES,
    Source,
    check_results,
    find_images,
    find_media,
    is_video,
    left_alone,
)
from extd.media.videowriter import MAX_CRF, VideoOptions, check_encoder
from extd.pipeline import OnFrame, Report


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


LOWEST = f"{THRESHOLD}, or the one stored in the model's file if that is lower"
KEEP = Parameter(metavar="X1,Y1,X2,Y2", converter=read_regions, n_tokens=1, show_default=False)
QUALITY = Parameter(group=RESULTS, metavar="1-100", validator=Number(gte=1, lte=100))
HOLD = Parameter(group=VIDEO, metavar="FRAMES", validator=Number(gte=0))
CRF = Parameter(group=VIDEO, metavar=f"0-{MAX_CRF}")
IDS = Parameter(metavar="ID", negative="", show_default=False)


@Parameter(name="*", group=RESULTS)
@dataclass(frozen=True, slots=True)
class Results:
    """Where results go, and how they are encoded.

    Attributes:
        out: Save the results in this folder, in the same tree. Images keep their format, except
            that HEIC and BMP become PNG; MP4, MOV, MKV and WebM keep theirs, other videos become
            MKV.
        in_place: Replace the images instead; not HEIC and BMP.
        json: Write JSON Lines, as `extd detect` does, with all faces that were covered or kept; -
            or no name means standard output.
        keep_metadata: Keep EXIF, with place and time, and the color profile of JPEG, PNG, WebP
            and AVIF (EXIF only), and what a video tells of place, time and camera. Thumbnails and
            maker notes are never kept.
        quality: Quality of JPEG, AVIF and WebP, 1 to 100, except of animations. By default JPEG
            keeps that of the original, AVIF is written with 90 and WebP lossless.
        encoder: FFmpeg's encoder of videos, as libx265; by default libx264, and libvpx-vp9 for
            WebM.
        crf: Its constant rate factor: lower is better and larger. By default 20, and 30 for WebM.
        audio: auto copies audio, as MKV if need be, and encodes what cannot be copied as AAC or
            Opus; copy leaves the latter out; encode encodes all; drop leaves all out.
    """

    out: Folder | None = None
    in_place: bool = False
    json: Target = None
    keep_metadata: bool = False
    quality: Annotated[int | None, WHOLE_NUMBER, QUALITY] = None
    encoder: Annotated[str | None, Parameter(group=VIDEO, metavar="NAME")] = None
    crf: Annotated[int | None, WHOLE_NUMBER, CRF] = None
    audio: Annotated[AudioMode, Parameter(group=VIDEO)] = "auto"


@Parameter(name="*", group=Group("How to cover", sort_key=1))
@dataclass(frozen=True, slots=True)
class Cover:
    """Which faces are covered, and how.

    Attributes:
        method: blur, pixelate (4 cells per face), solid (black), or image.
        image: The image for the method image.
        shape: The shape of a cover.
        margin: How far it extends over the box on each side, as a share of the box's own.
        strength: 2 blurs twice as far, or leaves half the cells.
        keep: Do not cover faces whose center is in this region, in pixels of the upright image.
        faces: Cover the faces in this file, which `extd detect --json` wrote and you may have
            edited, instead of detecting any. Options of the search and model have no effect then,
            and there is no second look.
        keep_id: Do not cover the faces with this id in that file; may be repeated.
        check: Look for faces in the results again, from a probability of 0.2, then cover these,
            too, and report them. This takes twice the time. Some of them are not faces.
        hold: For so many frames a face stays covered where it is missed, and before and after it
            is seen. As many frames are held in memory.
        outside: What to do with the frames before --start and from --end on: drop, or keep,
            uncovered.
    """

    method: Method = "blur"
    image: Annotated[Path | None, Parameter(metavar="FILE")] = None
    shape: Shape = "ellipse"
    margin: float = 0.25
    strength: float = 1.0
    keep: Annotated[tuple[Region, ...], KEEP] = ()
    faces: Annotated[Path | None, Parameter(metavar="FILE")] = None
    keep_id: Annotated[list[int], IDS] = field(default_factory=list)
    check: Annotated[bool, Parameter(negative="--no-check")] = True
    hold: Annotated[int, WHOLE_NUMBER, HOLD] = 5
    outside: Annotated[Literal["drop", "keep"], Parameter(group=VIDEO)] = "drop"


RESULTS_IN, COVER = Results(), Cover()


def blur(
    *files: Files,
    results: Results = RESULTS_IN,
    cover: Cover = COVER,
    threshold: Annotated[Threshold, Parameter(show_default=LOWEST)] = None,
    max_faces: MaxFaces = None,
    inference: Inference = INFERENCE,
    frames: Frames = ALL,
    from0: From0 = False,
) -> int:
    """Cover the faces in images and videos, so that nobody is recognized.

    Other files in the folders are left alone and named by their kinds. A file that cannot be read
    is reported, the rest goes on, and the exit code is 1. Animations and documents keep all frames
    and pages.

    Videos need the extra `video`. Voices in their audio are not disguised. Subtitles and other
    tracks are left out. Of a broken video, or after Ctrl-C, what could be read is
    written.

        extd blur album --out album-anonymous
        extd blur party.mp4 --out blurred --hold 10
        extd blur photo.jpg --out blurred --method solid --shape box
        extd blur film.mp4 --out blurred --faces faces.jsonl --keep-id 3
    """
    if (results.out is None) != results.in_place:
        raise UsageError("give either --out DIR or --in-place")
    outputs = Outputs(json=results.json)
    with usage_errors():
        inputs = read_list(files, sys.stdin, nul=from0)
        sources = find_sources(inputs, results.out)
        protect_originals(sources, outputs)
        options = blur_options(results, cover, frames)
        recorded = None if cover.faces is None else read_faces(cover.faces)
        check_ids(cover, recorded, sources)
    suffixes = SUFFIXES if results.out is None else SUFFIXES | VIDEO_SUFFIXES
    others = left_alone(inputs, sources, results.out, suffixes)
    finder = recorded or blurring_detector(inference, threshold, max_faces)
    task = blurring(results, options, finder, outputs, others)
    return run_files(task, sources, finder, inference.max_pixels)


def blurring_detector(
    inference: Inference, threshold: float | None, max_faces: int | None
) -> Detector:
    """The detector that the command line asks for, with a lower threshold if it gives none."""
    detector = load_detector(inference, threshold, max_faces=max_faces)
    if threshold is None:
        detector.options = replace(detector.options, threshold=blur_threshold(detector))
    return detector


def blur_options(results: Results, cover: Cover, frames: Frames) -> BlurOptions:
    """The library's options, with the image read."""
    if results.encoder is not None:
        check_encoder(results.encoder)
    return BlurOptions(
        AnonymizeOptions(
            cover.method,
            cover.shape,
            cover.margin,
            cover.strength,
            None if cover.image is None else read_image(cover.image),
            cover.keep,
            tuple(cover.keep_id),
        ),
        gap=cover.hold,
        check_threshold=CHECK_THRESHOLD if cover.check else None,
        keep_metadata=results.keep_metadata,
        quality=results.quality,
        span=frames.span(),
        outside=cover.outside,
        video=VideoOptions(results.audio, results.encoder, results.crf),
    )


def check_ids(cover: Cover, recorded: RecordedFaces | None, sources: Sequence[Source]) -> None:
    """Refuse ids to keep that mean no face, or faces of several files."""
    if not cover.keep_id:
        return
    if recorded is None:
        raise ValueError("--keep-id needs --faces, the file that `extd detect --track` wrote")
    if len(sources) != 1:
        raise ValueError(f"--keep-id is for one file at a time, not {len(sources):,}")
    known = recorded.ids(str(sources[0].path))
    for number in cover.keep_id:
        if number not in known:
            hint = "" if known else "; it has no ids, which `extd detect --track` gives"
            raise ValueError(f"--keep-id {number}: no face in {cover.faces} has this id{hint}")


def blurring(
    results: Results, options: BlurOptions, finder: FaceFinder, outputs: Outputs, others: str
) -> Task[FaceFinder]:
    """Cover the faces of each file, in the folder or in place; `finder` is for videos."""

    def target(source: Source) -> Path:
        return source.path if results.out is None else results.out / source.result

    def on_image(finder: FaceFinder, source: Source, image: Reduced) -> Outcome:
        found: list[Faces] = []
        report = blur_image(
            source.path,
            target(source),
            finder,
            options,
            image=image.pixels,
            on_frame=lambda _, faces, __: found.append(faces),
        )
        return replace(describe(source, report), found=found[0])

    def on_video(source: Source, on_frame: OnFrame) -> Outcome:
        blur_frames = blur_video if is_video(source.path) else blur_animation
        report = blur_frames(source.path, target(source), finder, options, on_frame=on_frame)
        return describe(source, report)

    return Task(
        "covering",
        "faces  file",
        on_image,
        on_video,
        [results.out, results.json],
        left_alone=others,
        results=open_outputs(outputs),
        quiet=outputs.quiet,
    )


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
