"""`extd crop`: pictures in; a file for each of their faces out."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from extd.catalog import DEFAULT_MODEL
from extd.cli.pictures import Flip, Longest, Scales, Threshold, check_folder, with_picture
from extd.cli.terminal import (
    Folder,
    Model,
    Provider,
    Threads,
    UsageError,
    count,
    print_error,
    print_line,
    progress_bar,
    usage,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    longest: Longest = None,
    scales: Scales = (1.0,),
    flip: Flip = False,
    model: Model = DEFAULT_MODEL,
    threads: Threads = 0,
    provider: Provider = None,
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
    from extd.media.crops import crops
    from extd.media.sources import find_pictures, read_list
    from extd.media.writers import write_picture

    check_folder(out)
    sources = find_pictures(read_list(pictures, sys.stdin), out)
    protect_folders(sources, out)
    if not 0 <= margin <= 10:
        raise UsageError(f"--margin is {margin}; give 0 to 10, as a share of the face")
    with usage():
        options = Options(
            threshold=threshold, min_face=min_face, longest=longest, scales=scales, flip=flip
        )
        providers = None if provider is None else [provider]
        detector = Detector(model, options=options, threads=threads, providers=providers)

    def cut(source: Source, image: Image) -> int:
        cut_out = crops(image, detector.detect(image), margin=margin, square=square)
        for one in cut_out:
            write_picture(out / crop_name(source.name, one.index), one.image)
        return len(cut_out)

    bar = progress_bar("cutting", hidden=len(sources) == 1)
    table = bar.console if sys.stdout.isatty() and not bar.disable else Console()
    found = failed = 0
    print_line(table, "faces  picture")
    with bar:
        for source in bar.track(sources):
            result = with_picture(source, partial(cut, source))
            if isinstance(result, Exception):
                failed += 1
                print_error(str(result), bar.console)
            else:
                found += result
                print_line(table, f"{result:5}  {source.path}")
    done = f"{count(found, 'face')} of {count(len(sources) - failed, 'picture')}"
    print_line(table, done + (f", {failed} failed" if failed else ""))
    print_line(table, f"written: {out}")
    return 1 if failed else 0


def crop_name(name: Path, index: int) -> Path:
    """The file of a face, counted from 0, of the source `name`: `a/b-001.jpg` of `a/b.jpg`."""
    from extd.media.writers import picture_name

    picture = picture_name(name)
    return picture.with_stem(f"{picture.stem}-{index + 1:03}")


def protect_folders(sources: Sequence[Source], out: Path) -> None:
    """Refuse to put faces where pictures are, whose names they could have.

    Raises:
        UsageError: the message names the folder.
    """
    originals = {source.path.parent.resolve() for source in sources}
    for source in sources:
        folder = (out / source.name).parent
        if folder.resolve() in originals:
            raise UsageError(f"--out {out}: there are pictures to read in {folder}; choose another")
