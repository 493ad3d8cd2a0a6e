"""The options of all commands that detect faces, and the detector that they ask for."""

import atexit
import io
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, TextIO

from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number

from extd.catalog import DEFAULT_MODEL, Precision
from extd.cli.terminal import WHOLE_NUMBER, usage_errors
from extd.detector import Detector, Options
from extd.images import MAX_PIXELS, open_pil
from extd.media.sources import LIST
from extd.media.video import Span

RESULTS = Group("Results", sort_key=1)
SEARCH = Group("What to look for", sort_key=2)
VIDEO = Group("Videos", sort_key=3)


def read_numbers(_: object, tokens: Sequence[Token]) -> tuple[float, ...]:
    """The numbers of an option like `0.5,1,2`, which is given once or several times."""
    words = ",".join(token.value for token in tokens)
    try:
        numbers = map(float, words.split(","))
        return tuple(int(one) if one.is_integer() else one for one in numbers)
    except ValueError:
        raise ValueError(f"{words!r} is not a list of numbers like 0,1,2") from None


def read_scales(hint: object, tokens: Sequence[Token]) -> tuple[float, ...] | Literal["auto"]:
    """Numbers, as `read_numbers`, or `auto`."""
    return "auto" if tokens[0].value == "auto" else read_numbers(hint, tokens)


SCALES = Parameter(metavar="FACTORS", converter=read_scales, n_tokens=1, show_default="auto")
ROTATIONS = Parameter(metavar="DEGREES", converter=read_numbers, n_tokens=1, show_default="0")
Model = Annotated[str, Parameter(metavar="NAME|FILE")]
Files = Annotated[
    str,
    Parameter(
        required=True,
        help="Files, folders (with their subfolders), quoted globs; - for standard input, "
        "which holds an image or names, one per line.",
    ),
]
From0 = Annotated[bool, Parameter(help="Names on standard input end with NUL (find -print0).")]
Threshold = Annotated[
    float | None,
    Parameter(
        group=SEARCH,
        show_default="the one stored in the model's file, or 0.5",
        help="Least probability of a face, 0 to below 1. Lower values find more, true and false.",
    ),
]
MaxFaces = Annotated[
    int | None,
    WHOLE_NUMBER,
    Parameter(
        group=SEARCH,
        help="Find at most this many faces per image, those with the highest scores; by default "
        "all.",
    ),
]
MAX_STREAM = 1 << 30
"""Bytes that are read from standard input."""
Pixels = Annotated[int, WHOLE_NUMBER, Parameter(metavar="PX")]


@Parameter(name="*", group=Group("Model and machine", sort_key=9))
@dataclass(frozen=True, slots=True)
class Machine:
    """The model, and what runs it.

    Attributes:
        model: A model that `extd models` lists, or an .onnx file.
        threads: How many threads compute.
        provider: What runs the network: cpu, cuda, tensorrt, coreml, openvino, directml, or auto
            for an accelerator if one starts. `extd doctor` lists those that work here.
        precision: Weights of the model: int8 or float. By default int8 where there are such
            weights and the processor is faster with them.
    """

    model: Model = DEFAULT_MODEL
    threads: Annotated[int, WHOLE_NUMBER, Parameter(show_default="one a core")] = 0
    provider: Annotated[str, Parameter(metavar="NAME")] = "cpu"
    precision: Precision = "auto"


THIS_MACHINE = Machine()


@Parameter(name="*", group=SEARCH)
@dataclass(frozen=True, slots=True)
class Inference:
    """How faces are detected.

    Attributes:
        longest: Resize images to this longer side first. Smaller is faster and finds less.
        scales: Detect at several sizes of the image, as in 0.5,1,2. Above 1 finds smaller faces,
            below 1 larger ones. auto halves the image until its longer side is at most 640 px.
        flip: Detect in the mirrored image, too: finds a little more in twice the time.
        rotations: Detect in the image turned clockwise by these degrees, as in 0,90,180,270; each
            adds its time. EXIF orientation is applied anyway.
        tile: Detect in tiles of this side, with less memory. By default, tiles of 1024 are used
            above 16.8 million pixels; 0 turns them off.
        overlap: How far tiles overlap, as a share of their side.
        max_pixels: Refuse images with more pixels: a small file can hold more than the memory.
    """

    longest: Pixels | None = None
    scales: Annotated[tuple[float, ...] | Literal["auto"], SCALES] = "auto"
    flip: bool = False
    rotations: Annotated[tuple[int, ...], ROTATIONS] = (0,)
    tile: Pixels | None = None
    overlap: float = 0.25
    max_pixels: Annotated[int, WHOLE_NUMBER, Parameter(metavar="N", validator=Number(gte=1))] = (
        MAX_PIXELS
    )
    machine: Machine = THIS_MACHINE


INFERENCE = Inference()


@Parameter(name="*", group=VIDEO)
@dataclass(frozen=True, slots=True)
class Frames:
    """Which frames of a video or camera are read.

    Attributes:
        start: Begin at this time of a video.
        end: End before this time.
        every: Take every n-th frame.
    """

    start: Annotated[float, Parameter(metavar="SECONDS")] = 0.0
    end: Annotated[float | None, Parameter(metavar="SECONDS")] = None
    every: Annotated[int, WHOLE_NUMBER, Parameter(metavar="FRAMES")] = 1

    def span(self) -> Span:
        """The library's value."""
        return Span(self.start, self.end, self.every)


ALL = Frames()


@usage_errors()
def load_detector(
    inference: Inference,
    threshold: float | None,
    *,
    min_face: float = 0,
    max_faces: int | None = None,
) -> Detector:
    """The detector that the command line asks for; UsageError if there is none."""
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
    return load_model(inference.machine, options)


@usage_errors()
def load_model(machine: Machine, options: Options | None = None) -> Detector:
    """The detector with that model; UsageError if there is none."""
    return Detector(
        machine.model,
        options=options,
        threads=machine.threads,
        providers=machine.provider,
        precision=machine.precision,
    )


def read_list(inputs: Sequence[str], stream: TextIO, *, nul: bool = False) -> list[str]:
    """Replace `-` among the inputs by what comes from a stream, as standard input.

    That is names, one per line, or the bytes of an image, which hold NUL where names cannot; or
    names that end with NUL, if `nul` says so.

    Raises:
        ValueError: it is neither, or has more than 1 GiB; or `nul` goes without `-`.
    """
    if nul and LIST not in inputs:
        raise ValueError("--from0 is for names from standard input; give - for them")
    listed: list[str] = []
    for item in inputs:
        listed += _read_stream(stream, nul=nul) if item == LIST else [item]
    return listed


def _read_stream(stream: TextIO, *, nul: bool) -> list[str]:
    """The names that a stream holds, or that of a file with the image it holds."""
    # Only text streams of tests have no bytes below.
    below: BinaryIO = getattr(stream, "buffer", None) or io.BytesIO(stream.read().encode())
    data = below.read(MAX_STREAM + 1)
    if len(data) > MAX_STREAM:
        raise ValueError("standard input has more than 1 GiB; name the file")
    if nul or b"\0" not in data:
        # File names need not be UTF-8.
        text = data.decode("utf-8", "surrogateescape")
        return list(filter(None, text.split("\0") if nul else re.split("[\r\n]+", text)))
    try:
        open_pil(io.BytesIO(data), "standard input")
    except ValueError as error:
        raise ValueError(f"{error}; names that end with NUL need --from0") from error
    if Path("/proc/self/fd/0").exists():
        # Opened by its name, it begins anew each time, even though the file is gone.
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            os.dup2(file.fileno(), 0)
        return ["/dev/stdin"]
    path = Path(tempfile.mkdtemp(), "stdin")
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    path.write_bytes(data)
    return [str(path)]
