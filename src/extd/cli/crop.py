"""`extd crop`: images in; a file for each of their faces out."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from extd.cli.files import Outcome, Task, run_files
from extd.cli.inference import (
    INFERENCE,
    SEARCH,
    Files,
    From0,
    Inference,
    Pixels,
    Threshold,
    load_detector,
    read_list,
)
from extd.cli.terminal import Folder, UsageError, count, usage_errors
from extd.detector import Detector
from extd.files import SUFFIXES, real_path
from extd.images import Reduced
from extd.media.animation import open_animation
from extd.media.sources import Source, find_images, is_video, left_alone
from extd.media.video import Fault
from extd.pipeline import OnFrame, crop_image, refuse_video
from extd.pixels import Image

CROP = Group("How to crop", sort_key=1)


def crop(
    *files: Files,
    out: Folder,
    margin: Annotated[float, Parameter(group=CROP, validator=Number(gte=0, lte=10))] = 0.2,
    square: Annotated[bool, Parameter(group=CROP)] = False,
    align: Annotated[Pixels | None, Parameter(group=CROP, validator=Number(gte=1))] = None,
    min_face: Annotated[float, Parameter(group=SEARCH, metavar="PX")] = 0,
    threshold: Threshold = None,
    inference: Inference = INFERENCE,
    from0: From0 = False,
) -> int:
    """Crop the faces of images, one file for each.

    The faces of trip/photo.jpg become trip/photo-001.jpg, trip/photo-002.jpg and so on, the surest
    first, as `extd detect` lists them; those of the second frame or page of a.gif become
    a.gif-0002-001.png and so on. An image that cannot be read is reported, the rest goes on,
    and the exit code is 1.

        extd crop album --out faces --square --min-face 40

    Args:
        out: Save the faces in this folder, without metadata: from JPEG, PNG and WebP in the same
            format, from others as PNG.
        margin: What to add on each side, as a share of the box's own sides, up to 10. Beyond the
            border of the image its last pixels are repeated.
        square: Lengthen the shorter side.
        align: Turn faces upright by their landmarks and scale them to this side, usually 112, as
            face recognition expects them; --margin and --square have no effect then.
        min_face: Leave out faces smaller than this, by their longer side.
    """
    with usage_errors():
        inputs = read_list(files, sys.stdin, nul=from0)
        sources = find_images(inputs, out)
    protect_originals(sources, out)
    detector = load_detector(inference, threshold, min_face=min_face)
    if align is not None and not detector.network.landmarks:
        raise UsageError(f"--align needs landmarks, and {inference.machine.model} finds none")

    def cut(detector: Detector, source: Source, image: Image, target: Path) -> Outcome:
        paths = crop_image(
            source.path, target, detector, image=image, margin=margin, square=square, align=align
        )
        flaws = [
            f"{source.path}: face {number} cannot be aligned, its landmarks coincide"
            for number, path in enumerate(paths, 1)
            if path is None
        ]
        faces = len(paths) - len(flaws)
        return Outcome(faces, [f"{faces:5}  {source.path}"], flaws=flaws)

    def on_image(detector: Detector, source: Source, image: Reduced) -> Outcome:
        return cut(detector, source, image.pixels, out / source.crop)

    def on_video(source: Source, on_frame: OnFrame) -> Outcome:
        return crop_frames(source, out / source.crop, partial(cut, detector, source))

    flaw, others = "with a face not aligned", left_alone(inputs, sources, out, SUFFIXES)
    task = Task("cropping", "faces  file", on_image, on_video, [out], flaw, others)
    return run_files(task, sources, detector, inference.max_pixels)


def crop_frames(source: Source, target: Path, cut: Callable[[Image, Path], Outcome]) -> Outcome:
    """Crop the faces of all frames or pages of an image; their number goes before the face's."""
    if is_video(source.path):
        raise refuse_video(source)
    outcomes = []
    with open_animation(source.path) as animation:
        for frame in animation.frames():
            if isinstance(frame, Fault):
                raise frame.error
            numbered = target.parent / f"{target.stem}-{frame.index + 1:04}{target.suffix}"
            outcomes.append(cut(frame.image, numbered))
    faces = sum(outcome.faces for outcome in outcomes)
    row = f"{faces:5}  {source.path}, {count(len(outcomes), 'frame')}"
    return Outcome(faces, [row], flaws=[flaw for one in outcomes for flaw in one.flaws])


def protect_originals(sources: Sequence[Source], out: Path) -> None:
    """Refuse to write faces into a folder with originals, whose names they could have."""
    originals = {real_path(source.path.parent) for source in sources}
    for source in sources:
        folder = (out / source.name).parent
        if real_path(folder) in originals:
            raise UsageError(f"--out {out}: there are images to read in {folder}; choose another")
