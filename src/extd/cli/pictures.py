"""What commands over pictures have in common: how to look, and what becomes of a bad picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence, Set
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Group, Parameter, Token

from extd.catalog import DEFAULT_MODEL
from extd.cli.terminal import WHOLE_NUMBER, Model, Provider, Threads, UsageError, usage
from extd.media.sources import is_folder, is_video, real_path
from extd.readahead import read_ahead

if TYPE_CHECKING:
    from extd.detector import Detector
    from extd.images import Image
    from extd.media.sources import Source

SEARCH = Group("What to look for", sort_key=2)

Result = TypeVar("Result")


def read_scales(_: object, tokens: Sequence[Token]) -> tuple[float, ...]:
    """The factors of one or several `--scales`, each like `0.5,1,2`."""
    words = [word for token in tokens for word in token.value.split(",")]
    try:
        return tuple(map(float, words))
    except ValueError:
        raise UsageError(f"--scales are {','.join(words)}; give factors like 0.5,1,2") from None


def read_rotations(_: object, tokens: Sequence[Token]) -> tuple[int, ...]:
    """The degrees of one or several `--rotations`, each like `0,90`."""
    words = [word for token in tokens for word in token.value.split(",")]
    try:
        return tuple(map(int, words))
    except ValueError:
        raise UsageError(
            f"--rotations are {','.join(words)}; give degrees like 0,90,180,270"
        ) from None


SCALES = Parameter(
    group=SEARCH, metavar="FACTORS", converter=read_scales, n_tokens=1, show_default="1"
)
ROTATIONS = Parameter(
    group=SEARCH, metavar="DEGREES", converter=read_rotations, n_tokens=1, show_default="0"
)
Threshold = Annotated[float, Parameter(group=SEARCH)]
Pixels = Annotated[int | None, WHOLE_NUMBER, Parameter(group=SEARCH, metavar="PX")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Inference:
    """The options of how pictures are looked at, and by what.

    Attributes:
        longest: Resize pictures to this longer side to look at them. Smaller is faster and finds
            less.
        scales: Look at each picture in several sizes, as in 0.5,1,2. Above 1 finds smaller faces,
            below 1 larger ones.
        flip: Look at the mirrored picture too: finds a little more in twice the time.
        rotations: Look at the picture turned clockwise by these degrees, as in 0,90,180,270, in
            so many times the time. EXIF counts without this.
        tile: Look at the picture in tiles of this side, with less memory. Without it, tiles of
            1024 where there are more than 16.8 million pixels to look at; 0 for never.
        overlap: How far tiles reach over each other, as a share of their side.
        max_pixels: Refuse pictures of more pixels: a small file can hold more than the memory.
        model: A model that `extd models` lists, or an .onnx file.
        threads: How many threads compute.
        provider: Execution provider of ONNX Runtime; `extd doctor` tells which work here.
    """

    longest: Pixels = None
    scales: Annotated[tuple[float, ...], SCALES] = (1.0,)
    flip: Annotated[bool, Parameter(group=SEARCH, show_default=False)] = False
    rotations: Annotated[tuple[int, ...], ROTATIONS] = (0,)
    tile: Pixels = None
    overlap: Annotated[float, Parameter(group=SEARCH)] = 0.25
    max_pixels: Annotated[int, WHOLE_NUMBER, Parameter(group=SEARCH, metavar="N")] = 500_000_000
    model: Model = DEFAULT_MODEL
    threads: Threads = 0
    provider: Provider = None


INFERENCE = Inference()


def load_detector(
    inference: Inference, threshold: float, *, min_face: float = 0, max_faces: int | None = None
) -> Detector:
    """The detector that the command line asks for.

    Raises:
        UsageError: a value is out of range, or there is no such model or provider.
    """
    from extd.detector import Detector, Options

    with usage():
        options = Options(
            threshold=threshold,
            min_face=min_face,
            max_faces=max_faces,
            longest=inference.longest,
            scales=inference.scales,
            flip=inference.flip,
            rotations=inference.rotations,
            tile=inference.tile,
            overlap=inference.overlap,
        )
        if inference.max_pixels < 1:
            raise UsageError(f"--max-pixels is {inference.max_pixels}; give 1 or more")
        providers = None if inference.provider is None else [inference.provider]
        return Detector(
            inference.model, options=options, threads=inference.threads, providers=providers
        )


def read_picture(source: Source, max_pixels: int) -> Image:
    """The pixels of a picture.

    Raises:
        ValueError: it cannot be read, or is too large; the message names it.
        OSError: likewise.
    """
    from extd.images import read_image

    try:
        return read_image(source.path, max_pixels=max_pixels)
    except MemoryError as error:
        raise ValueError(f"{source.path} is too large for the memory of this machine") from error


def work_through(
    detector: Detector,
    sources: Sequence[Source],
    work: Callable[[Detector, Source, Image], Result],
    max_pixels: int,
) -> Generator[tuple[Source, Result | Exception | None], None, None]:
    """Every source with what `work` makes of it, or why that failed; videos with None.

    Threads work on several pictures side by side, and read ahead where the detector wants all
    cores for one. Large pictures are read when their turn comes: no two are held.

    Args:
        detector: what looks at a single picture.
        sources: pictures and videos.
        work: called in any thread, with the detector that is to look at the picture.
        max_pixels: pictures of more are refused.
    """
    if len(sources) == 1:
        yield sources[0], _whole(detector, sources[0], work, max_pixels)
        return
    begin = partial(_begin, detector, work=work, max_pixels=max_pixels)
    with closing(read_ahead(sources, begin, detector.at_once)) as begun:
        for source, rest in begun:
            result = rest if isinstance(rest, Exception) else rest()
            del rest
            yield source, result


def _begin(
    detector: Detector,
    source: Source,
    work: Callable[[Detector, Source, Image], Result],
    max_pixels: int,
) -> Callable[[], Result | Exception | None]:
    """Do what can be done ahead for a source, and give the rest.

    Raises:
        ValueError: the picture cannot be read, or is too large; the message names it.
        OSError: likewise.
    """
    if is_video(source.path) or is_large(source.path, max_pixels):
        return partial(_whole, detector, source, work, max_pixels)
    image = read_picture(source, max_pixels)
    chosen = detector.of_many(image)
    if chosen is detector:
        return partial(work_on, source, image, partial(work, detector, source))
    result = work_on(source, image, partial(work, chosen, source))
    return lambda: result


def is_large(path: Path, max_pixels: int) -> bool:
    """Whether a picture is to be read when its turn comes."""
    from extd.images import image_size
    from extd.tiles import LARGE

    # Whether it can be read, reading tells; a pipe can be read only once.
    if path.is_file():
        with suppress(OSError, ValueError):
            width, height = image_size(path)
            return LARGE < width * height <= max_pixels
    return False


def _whole(
    detector: Detector,
    source: Source,
    work: Callable[[Detector, Source, Image], Result],
    max_pixels: int,
) -> Result | Exception | None:
    """What `work` makes of a source, or why that failed; None for a video."""
    if is_video(source.path):
        return None
    return with_picture(source, partial(work, detector, source), max_pixels)


def work_on(source: Source, image: Image, work: Callable[[Image], Result]) -> Result | Exception:
    """What `work` makes of the pixels of a picture, or why that failed.

    The error's message names the picture. `work` may raise ValueError, OSError and MemoryError.
    """
    try:
        return work(image)
    except (ValueError, OSError) as error:
        named = str(error).startswith(str(source.path))
        return error if named else ValueError(f"{source.path}: {error}")
    except MemoryError:
        return ValueError(f"{source.path} is too large for the memory of this machine")


def with_picture(
    source: Source, work: Callable[[Image], Result], max_pixels: int
) -> Result | Exception:
    """What `work` makes of a picture, or why reading it or working on it failed; see `work_on`."""
    try:
        image = read_picture(source, max_pixels)
    except (ValueError, OSError) as error:
        return error
    return work_on(source, image, work)


def check_folder(folder: Path, option: str = "--out") -> None:
    """Refuse a file where a folder is to be.

    Raises:
        UsageError: `folder` is none; the message names the option.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        kind = "file" if folder.exists() else "link that leads nowhere"
        raise UsageError(f"{option} {folder} is a {kind}; give a folder")


def protect_originals(originals: Set[Path], out: Path, written: Iterable[Path]) -> None:
    """Refuse to write over a picture.

    Args:
        originals: the `real_path` of every source.
        out: folder that is written to.
        written: names there.

    Raises:
        UsageError: one of them is an original; it is named.
    """
    for name in written:
        if real_path(out / name) in originals:
            raise UsageError(f"--out {out} would replace the picture {out / name}; choose another")


def count_others(
    inputs: Iterable[str | Path], sources: Sequence[Source], results: Path | None = None
) -> int:
    """How many files of the folders among `inputs`, and of those in them, are no sources.

    Hidden ones, and what an earlier run left in `results`, do not count.
    """
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
