"""`extd blur`: pictures in; the same pictures with their faces covered out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter, Token
from rich.console import Console

from extd.catalog import DEFAULT_MODEL
from extd.cli.detect import count
from extd.cli.pictures import (
    Flip,
    Longest,
    Scales,
    Threshold,
    check_folder,
    count_others,
    protect_originals,
    with_picture,
)
from extd.cli.terminal import (
    Folder,
    Model,
    Provider,
    Threads,
    UsageError,
    print_error,
    print_line,
    progress_bar,
    usage,
)

if TYPE_CHECKING:
    from extd.detector import Detector
    from extd.faces import Faces
    from extd.images import Image
    from extd.media.anonymize import Covering, Region
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
    threshold: Threshold = 0.3,
    longest: Longest = None,
    scales: Scales = (1.0,),
    flip: Flip = False,
    model: Model = DEFAULT_MODEL,
    threads: Threads = 0,
    provider: Provider = None,
) -> int:
    """Cover the faces in pictures, so that nobody is recognised.

    PICTURES are files, folders (with the folders in them) and quoted globs. Other files in the
    folders are left alone and counted. A picture that cannot be read is reported, the rest goes
    on, and the exit code is 1. Of animations the first frame is taken.

        extd blur album --out album-anonymous --check
        extd blur photo.jpg --out blurred --method solid --shape box

    Args:
        pictures: What to anonymise.
        out: Save the pictures in this folder, in the same tree: JPEG, PNG and WebP as they were,
            others as PNG.
        in_place: Replace the pictures instead; only JPEG, PNG and WebP.
        keep_metadata: Keep EXIF, with the place and time, and the colour profile of JPEG, PNG,
            WebP and AVIF (EXIF alone). Thumbnails and makers' notes are never kept.
        check: Look at the results again, for faces of a probability above 0.2, and report
            pictures with one that is not covered; the exit code is 1. Many will be none.
        method: blur, pixelate (4 cells a face), solid (black), or image.
        image: The picture for the method image.
        shape: What the cover looks like.
        margin: How far it reaches over the box on each side, as a share of the box's own.
        strength: 2 blurs twice as far, or leaves half the cells.
        keep: Leave faces alone whose centre is in this region, in pixels of the upright picture.
        threshold: Least probability of a face, 0 to below 1. Lower covers more, also what is none.
        longest: Resize pictures to this longer side to look at them. Smaller is faster and finds
            less.
        scales: Look at each picture in several sizes, as in 0.5,1,2. Above 1 finds smaller faces,
            below 1 larger ones.
        flip: Look at the mirrored picture too: finds a little more in twice the time.
        model: A model that `extd models` lists, or an .onnx file.
        threads: How many threads compute.
        provider: Execution provider of ONNX Runtime; `extd doctor` tells which work here.
    """
    from extd.detector import Detector, Options
    from extd.images import read_image
    from extd.media.anonymize import Covering
    from extd.media.sources import find_pictures
    from extd.media.writers import picture_name

    if (out is None) != in_place:
        raise UsageError("give either --out DIR or --in-place")
    if out is not None:
        check_folder(out)
    sources = find_pictures(pictures, out)
    if out is not None:
        protect_originals(sources, out, (picture_name(source.name) for source in sources))
    with usage():
        covering = Covering(
            method=method,
            shape=shape,
            margin=margin,
            strength=strength,
            picture=None if image is None else read_image(image),
            keep=keep,
        )
        options = Options(threshold=threshold, longest=longest, scales=scales, flip=flip)
        providers = None if provider is None else [provider]
        detector = Detector(model, options=options, threads=threads, providers=providers)

    bar = progress_bar("covering", hidden=len(sources) == 1)
    table = bar.console if sys.stdout.isatty() and not bar.disable else Console()
    found = failed = bare = 0
    print_line(table, "faces  picture")
    with bar:
        for source in bar.track(sources):
            target = source.path.resolve() if out is None else out / picture_name(source.name)
            result = blur_one(
                detector, source, target, covering, keep_metadata=keep_metadata, check=check
            )
            if isinstance(result, Exception):
                failed += 1
                print_error(str(result), bar.console)
                continue
            faces, left = result
            found += len(faces)
            print_line(table, f"{len(faces):5}  {source.path}")
            if len(left):
                bare += 1
                print_error(f"{source.path}: not covered: {describe(left)}", bar.console)
    done = f"{count(found, 'face')} in {count(len(sources) - failed, 'picture')}"
    others = count_others(pictures, sources, out)
    for number, what in ((failed, "failed"), (bare, "with a face not covered")):
        done += f", {number:,} {what}" if number else ""
    if others:
        done += f"; {count(others, 'other file')} left alone"
    print_line(table, done)
    if out is not None:
        print_line(table, f"written: {out}")
    return 1 if failed or bare else 0


def blur_one(
    detector: Detector,
    source: Source,
    target: Path,
    covering: Covering,
    *,
    keep_metadata: bool,
    check: bool,
) -> tuple[Faces, Faces] | Exception:
    """The faces of a picture, which is written with these covered, and those left uncovered.

    Or why that failed; then nothing is written.
    """
    from extd.faces import Faces
    from extd.media.anonymize import anonymize, uncovered
    from extd.media.metadata import NO_METADATA, read_metadata
    from extd.media.writers import check_replaceable, write_picture

    def cover(image: Image) -> tuple[Faces, Faces]:
        metadata = read_metadata(source.path) if keep_metadata else NO_METADATA
        in_place = target == source.path.resolve()
        if in_place:
            check_replaceable(target)
        mode = source.path.stat().st_mode
        faces = detector.detect(image)
        covered = anonymize(image, faces, covering)
        write_picture(target, covered, metadata)
        if in_place:
            target.chmod(mode)
        if not check:
            return faces, Faces.empty(faces.width, faces.height)
        low = min(CHECKED_FROM, detector.options.threshold)
        found = detector.detect(covered, replace(detector.options, threshold=low))
        return faces, uncovered(found, faces, covering)

    return with_picture(source, cover)


def describe(faces: Faces) -> str:
    """As in `0.31 at 10,20,30,40`, the first three."""
    shown = [f"{face.score:.2f} at " + ",".join(f"{v:.0f}" for v in face.box) for face in faces[:3]]
    return "; ".join(shown) + (f" and {len(faces) - 3:,} more" if len(faces) > 3 else "")
