"""Where the results of `extd detect` go: files and folders that are checked, then opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Parameter

from extd.batch import check_targets
from extd.cli.inference import RESULTS
from extd.cli.terminal import STDOUT, Folder, Target, open_results
from extd.data.sample import relative_name, text_files
from extd.faces import Faces
from extd.files import SUFFIXES, real_path
from extd.images import image_size
from extd.media.sources import VIDEO_SUFFIXES, Source, is_video
from extd.media.video import Frame
from extd.media.writers import csv_header, csv_lines, json_line, open_coco

UNREAD = frozenset({".jfif", ".jxl", ".jp2", ".psd", ".dng", ".cr2", ".nef", ".arw"})
"""More image formats; results must not overwrite them either."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go.

    Attributes:
        out: Save the images and videos, with their faces marked, in this folder.
        json: Write JSON Lines, one object per image or frame, to a file; with - or nothing to
            standard output.
        csv: Write CSV, one line per face, likewise.
        coco: Write one COCO file, for images only: labels whose annotations have a score.
        yolo: Write YOLO labels into this folder, one text file per image, without scores.
        wider: Write detections for WIDER FACE's evaluation into this folder, likewise.
    """

    out: Annotated[Folder | None, Parameter(group=RESULTS)] = None
    json: Annotated[Target, Parameter(group=RESULTS)] = None
    csv: Annotated[Target, Parameter(group=RESULTS)] = None
    coco: Annotated[str | None, Parameter(group=RESULTS, metavar="FILE")] = None
    yolo: Annotated[Folder | None, Parameter(group=RESULTS)] = None
    wider: Annotated[Folder | None, Parameter(group=RESULTS)] = None

    @property
    def quiet(self) -> bool:
        """Whether results take the place of the table on standard output."""
        return STDOUT in {self.json, self.csv}

    @property
    def for_images(self) -> bool:
        """Whether there are results that only images can have."""
        return {self.coco, self.yolo, self.wider} != {None}


OUTPUTS = Outputs()


def protect_originals(sources: Sequence[Source], outputs: Outputs) -> None:
    """Refuse to replace an image or video, or to write two results into one file.

    Raises:
        ValueError: the message names the file, or there are labels to write for a video.
    """
    if outputs.for_images and any(is_video(source.path) for source in sources):
        raise ValueError("--coco, --yolo and --wider are for images only; leave videos out")
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
        check_targets(sources, outputs.out)


def is_media(path: Path) -> bool:
    """Whether a path is an image or video, by its suffix or content."""
    if path.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES | UNREAD:
        return True
    with suppress(ValueError):
        if path.is_file():
            image_size(path)
            return True
    return False


class ResultsError(Exception):
    """Results cannot be written, which is not the fault of the file that is processed.

    Its cause is the OSError.
    """


@dataclass(frozen=True, slots=True)
class Results:
    """Open files of results; each may be None.

    Attributes:
        json: gets an object a line for each image, frame and error.
        csv: gets a line for each face.
        add_coco: gets the path and faces of each image.
        folder: of the COCO file, which names images relative to it.
        frames: whether CSV has columns for frame and time, which are 0 for images.
    """

    json: TextIO | None
    csv: TextIO | None
    add_coco: Callable[[str, Faces], None] | None
    folder: Path
    frames: bool

    def add(self, name: str, result: Faces | Exception, frame: Frame | None = None) -> None:
        """Write the faces of an image or frame, or why a file failed.

        Lines are written at once, so that a reader of a pipe sees them.

        Raises:
            ResultsError: a file cannot be written.
        """
        place = None if frame is None else (frame.index, frame.time)
        try:
            if self.json is not None:
                self.json.write(json_line(name, result, place))
                self.json.flush()
            if isinstance(result, Exception):
                return
            if self.csv is not None:
                self.csv.write(csv_lines(name, result, place or (0, 0.0) if self.frames else None))
                self.csv.flush()
            if self.add_coco is not None and frame is None:
                self.add_coco(relative_name(Path(name), self.folder), result)
        except OSError as error:
            raise ResultsError from error


@contextmanager
def open_outputs(outputs: Outputs, *, frames: bool, landmarks: bool) -> Iterator[Results]:
    """Open the files that are asked for; `-` is standard output.

    `frames` and `landmarks` tell whether CSV has columns for them.

    Raises:
        OSError: one cannot be written.
    """
    with ExitStack() as stack:
        json, csv = (
            stack.enter_context(open_results(target)) if target else None
            for target in (outputs.json, outputs.csv)
        )
        coco = Path(outputs.coco or "")
        add_coco = stack.enter_context(open_coco(coco)) if outputs.coco else None
        if csv is not None:
            csv.write(csv_header(landmarks=landmarks, frames=frames))
        try:
            yield Results(json, csv, add_coco, coco.parent, frames)
        except ResultsError as error:
            raise error.__cause__ or error from None
