"""Where the results of `extd detect` go: files and folders that are checked, then opened."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Parameter

from extd.cli.inference import RESULTS
from extd.cli.terminal import STDOUT, Folder, Target, open_results
from extd.data.sample import relative_name, text_files
from extd.faces import Faces
from extd.files import SUFFIXES, real_path
from extd.images import image_size
from extd.media.sources import VIDEO_SUFFIXES, Source, check_results, is_video
from extd.media.video import Frame
from extd.media.writers import csv_header, csv_lines, json_line, open_coco

UNREAD = frozenset({".jxl", ".jp2", ".psd", ".dng", ".cr2", ".nef", ".arw"})
"""More image formats; results must not overwrite them either."""


@Parameter(name="*", group=RESULTS)
@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go.

    Attributes:
        out: Save the images and videos, with their faces marked, in this folder.
        json: Write JSON Lines, one object per image or frame, to a file; - or no
            name means standard output.
        csv: Write CSV, one line per face, likewise.
        coco: Write one COCO file, for images only: labels whose annotations have a score.
        yolo: Write YOLO labels into this folder, one text file per image, without scores.
        wider: Write detections for WIDER FACE's evaluation into this folder, likewise.
    """

    out: Folder | None = None
    json: Target = None
    csv: Target = None
    coco: Annotated[str | None, Parameter(metavar="FILE")] = None
    yolo: Folder | None = None
    wider: Folder | None = None

    @property
    def quiet(self) -> bool:
        """Whether results take the place of the table on standard output."""
        return STDOUT in {self.json, self.csv}

    @property
    def for_images(self) -> bool:
        """Whether there are results that only images can have."""
        return any(target is not None for target in (self.coco, self.yolo, self.wider))


OUTPUTS = Outputs()


def protect_originals(sources: Sequence[Source], outputs: Outputs) -> None:
    """Refuse to replace an image or video, to mix up two results, or to label videos."""
    if outputs.for_images and any(is_video(source.path) for source in sources):
        raise ValueError("--coco, --yolo and --wider are for images only; leave videos out")
    if outputs.coco == STDOUT:
        raise ValueError("--coco goes to a file, not to standard output; name one")
    owners: dict[str | Path, str] = {}
    for option in ("json", "csv", "coco", "yolo", "wider"):
        target = getattr(outputs, option)
        if target is not None:
            place = STDOUT if target == STDOUT else real_path(Path(target))
            if (owner := owners.setdefault(place, option)) != option:
                raise ValueError(f"--{owner} and --{option} both go to {target}; separate them")
    files = [Path(file) for file in (outputs.json, outputs.csv, outputs.coco) if file]
    # Resolving the links of a million files takes a while, and often nothing is written.
    originals = {real_path(source.path) for source in sources} if files else set()
    for file in files:
        real = real_path(file)
        if str(file) != STDOUT and (real in originals or is_media(real)):
            kind = "video" if real.suffix.lower() in VIDEO_SUFFIXES else "image"
            raise ValueError(f"results would replace the {kind} {file}; name another file")
    for folder in (outputs.yolo, outputs.wider):
        if folder is not None:
            text_files(folder, [source.name for source in sources])
    if outputs.out is not None:
        check_results(sources, outputs.out)


def is_media(path: Path) -> bool:
    """Whether a path is an image or video, by its suffix or content."""
    if path.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES | UNREAD:
        return True
    with suppress(ValueError):
        return path.is_file() and bool(image_size(path))
    return False


Add = Callable[[str, Faces | Exception, Frame | None], None]
"""Adds the faces of an image or frame, or why a file failed, to the results."""
NO_RESULTS: AbstractContextManager[Add] = nullcontext(lambda *_: None)


class ResultsError(Exception):
    """Results could not be written; wraps the OSError, so that no input file is blamed for it."""


@contextmanager
def open_outputs(
    outputs: Outputs, *, frames: bool = False, landmarks: bool = False, ids: bool = False
) -> Iterator[Add]:
    """Open the files of results, and yield the function that adds to them, line by line.

    `frames`, `landmarks` and `ids` tell whether CSV has columns for them; those for frame and time
    are 0 for images, and ids are empty.
    """
    with ExitStack() as stack:
        json = stack.enter_context(open_results(outputs.json)) if outputs.json else None
        csv = stack.enter_context(open_results(outputs.csv)) if outputs.csv else None
        coco = Path(outputs.coco) if outputs.coco else None
        add_coco = stack.enter_context(open_coco(coco)) if coco else None

        def write(stream: TextIO, lines: str) -> None:
            stream.write(lines)
            # A reader of a pipe sees them at once.
            stream.flush()

        def add(name: str, result: Faces | Exception, frame: Frame | None) -> None:
            place = (0, 0.0) if frame is None else (frame.index, frame.time)
            try:
                if json:
                    write(json, json_line(name, result, None if frame is None else place))
                if csv and isinstance(result, Faces):
                    write(csv, csv_lines(name, result, place if frames else None, ids=ids))
                if coco and add_coco and isinstance(result, Faces):
                    add_coco(relative_name(Path(name), coco.parent), result)
            except OSError as error:
                raise ResultsError from error

        try:
            if csv:
                write(csv, csv_header(landmarks=landmarks, frames=frames, ids=ids))
            yield add
        except ResultsError as error:
            raise error.__cause__ or error from None
