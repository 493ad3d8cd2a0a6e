"""`extd crop`: pictures in; a file for each of their faces out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from extd.cli.pictures import (
    INFERENCE,
    Inference,
    Threshold,
    check_folder,
    load_detector,
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
from extd.media.sources import real_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extd.detector import Detector
    from extd.images import Image
    from extd.media.sources import Source

CUT = Group("How to cut", sort_key=1)


def crop(
    *pictures: Annotated[str, Parameter(required=True)],
    out: Folder,
    margin: Annotated[float, Parameter(group=CUT)] = 0.2,
    square: Annotated[bool, Parameter(group=CUT, show_default=False)] = False,
    min_face: Annotated[float, Parameter(group=CUT, metavar="PX")] = 0,
    threshold: Threshold = 0.5,
    inference: Inference = INFERENCE,
) -> int:
    """Cut the faces out of pictures, a file for each.

    PICTURES are files, folders (with the folders in them) and quoted globs. The faces of
    trip/photo.jpg become trip/photo-001.jpg, trip/photo-002.jpg and so on, the surest first, as
    `extd detect` lists them. A picture that cannot be read is reported, the rest goes on, and the
    exit code is 1.

        extd crop album --out faces --square --min-face 40

    Args:
        pictures: What to cut faces from.
        out: Save the faces in this folder: of JPEG, PNG and WebP in the same format, of others as
            PNG, without metadata.
        margin: What to add on each side, as a share of the box's own sides. Beyond the picture's
            border its last pixels are repeated.
        square: Lengthen the shorter side.
        min_face: Leave out faces smaller than this, by their longer side.
        threshold: Least probability of a face, 0 to below 1. Lower finds more, also wrong ones.
        inference: How pictures are looked at.
    """
    from extd.media.crops import crops
    from extd.media.sources import find_pictures, read_list
    from extd.media.writers import write_image

    check_folder(out)
    with usage():
        sources = find_pictures(read_list(pictures, sys.stdin), out)
    protect_folders(sources, out)
    if not 0 <= margin <= 10:
        raise UsageError(f"--margin is {margin}; give 0 to 10, as a share of the face")
    detector = load_detector(inference, threshold, min_face=min_face)

    def cut(detector: Detector, source: Source, image: Image) -> int:
        cut_out = crops(image, detector.detect(image), margin=margin, square=square)
        for one in cut_out:
            write_image(out / crop_name(source.name, one.index), one.image)
        return len(cut_out)

    bar = progress_bar("cutting", hidden=len(sources) == 1)
    table = bar.console if sys.stdout.isatty() and not bar.disable else Console()
    found = failed = 0
    print_line(table, "faces  picture")
    with bar:
        results = work_through(detector, sources, cut, inference.max_pixels)
        for source, result in bar.track(results, total=len(sources)):
            if result is None:
                failed += 1
                print_error(f"{source.path} is a video; give pictures", bar.console)
            elif isinstance(result, Exception):
                failed += 1
                print_error(str(result), bar.console)
            else:
                found += result
                print_line(table, f"{result:5}  {source.path}")
    done = f"{count(found, 'face')} of {count(len(sources) - failed, 'picture')}"
    print_line(table, done + (f", {failed} failed" if failed else ""))
    if found:
        print_line(table, f"written: {out}")
    return 1 if failed else 0


def crop_name(name: Path, index: int) -> Path:
    """The file of a face, counted from 0, of the source `name`: `a/b-001.jpg` of `a/b.jpg`."""
    from extd.media.writers import image_name

    picture = image_name(name)
    return picture.with_stem(f"{picture.stem}-{index + 1:03}")


def protect_folders(sources: Sequence[Source], out: Path) -> None:
    """Refuse to put faces where pictures are, whose names they could have.

    Raises:
        UsageError: the message names the folder.
    """
    originals = {real_path(source.path.parent) for source in sources}
    for source in sources:
        folder = (out / source.name).parent
        if real_path(folder) in originals:
            raise UsageError(f"--out {out}: there are pictures to read in {folder}; choose another")
