"""What `extd detect` writes as it goes: JSON Lines, CSV and COCO, and lines of its table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from extd.cli.terminal import count, open_results

if TYPE_CHECKING:
    from extd.faces import Faces
    from extd.media.video import Frame
    from extd.pipeline import Report


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
        frames: whether CSV has columns for frame and time, which are 0 for images.
    """

    json: TextIO | None
    csv: TextIO | None
    add_coco: Callable[[Path, Faces], None] | None
    frames: bool

    def add_image(self, path: Path, faces: Faces) -> None:
        """Write the faces of an image."""
        from extd.media.writers import csv_lines, json_line

        name = str(path)
        _write(self.json, json_line(name, faces))
        _write(self.csv, csv_lines(name, faces, (0, 0.0) if self.frames else None))
        if self.add_coco is not None:
            self.add_coco(path, faces)

    def add_frame(self, frame: Frame, faces: Faces) -> None:
        """Write the faces of a frame.

        Raises:
            ResultsError: a file cannot be written.
        """
        from extd.media.writers import csv_lines

        try:
            _write(self.json, frame_json_line(frame, faces))
            _write(self.csv, csv_lines(frame.name, faces, (frame.index, frame.time)))
        except OSError as error:
            raise ResultsError from error

    def add_error(self, name: str, error: Exception) -> None:
        """Write why a file failed."""
        from extd.media.writers import json_line

        _write(self.json, json_line(name, error))


@contextmanager
def open_result_files(
    json: str | None,
    csv: str | None,
    coco: str | None = None,
    *,
    frames: bool,
    landmarks: bool,
) -> Iterator[Results]:
    """Open the files that are asked for; `-` is standard output.

    `frames` and `landmarks` tell whether CSV has columns for them.

    Raises:
        OSError: one cannot be written.
    """
    from extd.data.sample import relative_name
    from extd.media.writers import csv_header, open_coco

    with ExitStack() as stack:
        json_stream = stack.enter_context(open_results(json)) if json else None
        csv_stream = stack.enter_context(open_results(csv)) if csv else None
        add_coco = None
        if coco:
            folder, add = Path(coco).parent, stack.enter_context(open_coco(Path(coco)))

            def add_coco(path: Path, faces: Faces) -> None:
                add(relative_name(path, folder), faces)

        if csv_stream is not None:
            csv_stream.write(csv_header(landmarks=landmarks, frames=frames))
        try:
            yield Results(json_stream, csv_stream, add_coco, frames)
        except ResultsError as error:
            raise error.__cause__ or error from None


def _write(stream: TextIO | None, lines: str) -> None:
    """Write lines at once, so that a reader of a pipe sees them."""
    if stream is not None:
        stream.write(lines)
        stream.flush()


def frame_json_line(frame: Frame, faces: Faces) -> str:
    """One line of JSON: `path`, `frame`, `time` in seconds, `width`, `height` and `faces`."""
    place = {"path": frame.name, "frame": frame.index, "time": round(frame.time, 6)}
    size = {"width": faces.width, "height": faces.height}
    return json.dumps({**place, **size, "faces": faces.to_dict()}) + "\n"


def image_row(path: Path, faces: Faces) -> str:
    """An image's line in the table of several files."""
    best = f"{faces.scores.max():.2f}" if len(faces) else "-"
    return f"{len(faces):5} {best:>6}  {path}"


def video_row(path: Path, report: Report) -> str:
    """A video's line in the table: all its faces, and the best score."""
    best = f"{report.best_score:.2f}" if report.faces else "-"
    return f"{report.faces:5} {best:>6}  {path}, {count(report.frames, 'frame')}"


def face_rows(path: Path, faces: Faces) -> list[str]:
    """The table of a single image: a line for each face."""
    rows = [f"{path}, {faces.width} x {faces.height} px"]
    if len(faces):
        rows.append("score       x1       y1       x2       y2")
    for face in faces:
        rows.append(f"{face.score:5.2f} " + " ".join(f"{value:8.1f}" for value in face.box))
    return rows
