"""Results on disk, written whole or not at all: JSON Lines, CSV, COCO, images and metadata."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import PIL.Image
from PIL.ExifTags import IFD, Base
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import get_sampling

from extd.data.coco import coco_json
from extd.data.sample import Sample, detected
from extd.faces import LANDMARK_COLUMNS, Faces
from extd.files import atomic_write, open_file, open_text
from extd.images import ORIENTATION, catch_warnings, open_pil, read_image
from extd.media.transparency import layers_of
from extd.pixels import Image

JPEG = {"format": "JPEG", "quality": 95, "subsampling": "4:2:0"}
# A level that is fast: higher ones take several times as long for a few percent.
PNG = {"format": "PNG", "compress_level": 1}
ENCODERS: dict[str, dict[str, Any]] = {
    **dict.fromkeys((".jpg", ".jpeg", ".jfif", ".jpe", ".jif"), JPEG),
    **dict.fromkeys((".png", ".apng"), PNG),
    # Exact, or the encoder chooses the colors of transparent pixels.
    ".webp": {"format": "WEBP", "lossless": True, "exact": True},
    ".avif": {"format": "AVIF", "quality": 90, "speed": 8},
    ".tif": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    ".gif": {"format": "GIF"},
}
"""How images are written, by suffix."""
METADATA_FORMATS = frozenset({"JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF"})
"""Pillow's names of the formats whose metadata is kept; MPO is JPEG of several images."""
MAX_LENGTH = 512
"""Bytes or numbers that a tag may have: longer ones, as Photoshop's, can hold a small image."""
IMAGE_TAGS = frozenset({0x014A, Base.JpegIFOffset, Base.JpegIFByteCount, Base.MakerNote})
"""Tags that lead to further images; makers' notes often have a preview."""
DIRECTORY_TAGS = frozenset({IFD.Exif, IFD.GPSInfo, IFD.Interop})


Metadata = Mapping[str, Any]
"""Pillow's options for writing: `exif` (CIPA DC-008, 4.5), `icc_profile`, `quality` and so on."""
NO_METADATA: Metadata = {}


def json_line(path: str, result: Faces | Exception, frame: tuple[int, float] | None = None) -> str:
    """One line of JSON: `path`, `width`, `height`, `faces`, or `path` and `error`.

    With the number and time in seconds of a `frame`, these follow the path.
    """
    record: dict[str, object] = {"path": path}
    if frame is not None:
        record |= {"frame": frame[0], "time": round(frame[1], 6)}
    if isinstance(result, Faces):
        record |= {"width": result.width, "height": result.height, "faces": result.to_dict()}
    else:
        record["error"] = str(result)
    return json.dumps(record) + "\n"


def csv_header(*, landmarks: bool, frames: bool = False, ids: bool = False) -> str:
    """The columns of `csv_lines`."""
    place = ["path", "frame", "time"] if frames else ["path"]
    points = LANDMARK_COLUMNS if landmarks else ()
    columns = ["width", "height", "x1", "y1", "x2", "y2", "score", *(["id"] if ids else [])]
    return ",".join([*place, *columns, *points]) + "\n"


def csv_lines(
    path: str, faces: Faces, frame: tuple[int, float] | None = None, *, ids: bool = False
) -> str:
    """One line of CSV per face, with the columns of `csv_header`; nothing without faces.

    `frame` is its number and time in seconds, if the file has these columns, and `ids` tells
    whether it has one for ids.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    place = [path] if frame is None else [path, frame[0], f"{frame[1]:.6f}"]
    for face in faces:
        numbers = [f"{value:.2f}" for value in face.box] + [f"{face.score:.4f}"]
        numbers += ["" if face.id is None else str(face.id)] if ids else []
        numbers += [f"{value:.2f}" for point in face.landmarks or () for value in point]
        writer.writerow([*place, faces.width, faces.height, *numbers])
    return text.getvalue()


@contextmanager
def open_coco(path: Path) -> Iterator[Callable[[str, Faces], None]]:
    """Yield a function that takes the results of images; they are written at the end.

    As with `open_text`, Ctrl-C leaves the results so far, and an error what was there before.
    """
    results: list[tuple[str, Sample]] = []

    def add(name: str, faces: Faces) -> None:
        results.append((name, detected(Path(name), faces)))

    with open_text(path) as stream:
        try:
            yield add
        finally:
            # After an error the file is dropped anyway.
            stream.write(coco_json(results))


def write(results: Iterable[tuple[str | PathLike[str], Faces]], path: str | PathLike[str]) -> None:
    """Write the faces of images into one file, in the format of its suffix.

    Args:
        results: names or paths of images with their faces.
        path: `.jsonl` for JSON Lines, `.csv` for CSV, `.json` for COCO. The file appears when it
            is complete; see `open_text`.

    Raises:
        ValueError: the path has another suffix.
    """
    path = Path(path)
    named = ((fspath(name), faces) for name, faces in results)
    suffix = path.suffix.lower()
    if suffix == ".json":
        with open_coco(path) as add:
            for name, faces in named:
                add(name, faces)
        return
    if suffix not in {".jsonl", ".csv"}:
        raise ValueError(f"{path}: give a name that ends in .jsonl, .csv or .json (COCO)")
    with open_text(path) as stream:
        if suffix == ".jsonl":
            stream.writelines(json_line(name, faces) for name, faces in named)
            return
        # One detector found them all, either with landmarks or without.
        first = next(named, None)
        stream.write(csv_header(landmarks=first is not None and first[1].landmarks is not None))
        stream.writelines(csv_lines(*one) for one in chain([first] if first else [], named))


def write_image(path: Path, image: Image, metadata: Metadata = NO_METADATA) -> None:
    """Write an image in the format of the suffix, one of `ENCODERS`.

    The file has nothing but the pixels, uint8 RGB [H, W, 3] or RGBA [H, W, 4], and `metadata`;
    see `encoding` and `read_metadata`.
    In JPEG, transparent pixels are blended with mid gray.

    Raises:
        ValueError: the format cannot hold the image, as WebP more than 16383 px a side, or the
            metadata, as JPEG more than 64 kB of EXIF.
    """
    encoded = encode_image(path, image, metadata)
    with atomic_write(path) as partial:
        partial.write_bytes(encoded)


def encode_image(path: Path, image: Image, metadata: Metadata = NO_METADATA) -> memoryview:
    """The bytes that `write_image` writes, with the same errors; no file is touched."""
    options = {**ENCODERS[path.suffix.lower()], **metadata}
    encoded = io.BytesIO()
    if options["format"] == "JPEG":
        image = read_image(image)
    try:
        PIL.Image.fromarray(image).save(encoded, **options)
    except (ValueError, OSError, MemoryError) as error:
        height, width = image.shape[:2]
        also = " with this metadata" if {"exif", "icc_profile"} & metadata.keys() else ""
        raise ValueError(
            f"{path}: this format cannot hold {width} x {height} px{also}: {error}"
        ) from error
    return encoded.getbuffer()


def encoding(target: Path, source: Path, quality: int | None = None) -> Metadata:
    """How to write `target` as good as the image `source` is, or in a quality of 1 to 100.

    A JPEG keeps its quantization tables and chroma subsampling, so that it loses little and its
    size stays. A quality is for JPEG, AVIF and WebP, which it makes lossy; others are lossless.
    """
    # A pipe can be read only once.
    if quality is not None or not source.is_file():
        return encoding_of(target, None, quality)
    with open_file(source) as file:
        return encoding_of(target, open_pil(file, str(source)))


def encoding_of(
    target: Path, image: PIL.Image.Image | None, quality: int | None = None
) -> Metadata:
    """As `encoding`, from an open image, if there is one."""
    kind = ENCODERS[target.suffix.lower()]["format"]
    if quality is not None:
        lossy = {"WEBP": {"lossless": False}, "JPEG": {}, "AVIF": {}}.get(kind)
        return {} if lossy is None else {"quality": quality, **lossy}
    tables = getattr(image, "quantization", None) if kind == "JPEG" else None
    if image is None or not tables:
        return {}
    # Pillow would scale the tables by any other quality; -1 for the sampling is that of gray.
    sampling = get_sampling(image)
    return {"quality": -1, "qtables": tables, "subsampling": sampling if sampling >= 0 else 0}


def check_replaceable(path: Path) -> None:
    """Refuse to replace an image if more than its faces would be lost.

    Raises:
        ValueError: its format is not written, or it has 16 bits per channel, or transparent
            parts and the name of a JPEG.
        OSError: it cannot be read.
    """
    if path.suffix.lower() not in ENCODERS:
        raise ValueError(f"{path} cannot be replaced: this format is not written; give --out")
    with open_file(path) as file:
        image = open_pil(file, str(path))
        if image.format in {"JPEG", "MPO"}:
            return
        if _has_16_bits(image):
            raise ValueError(
                f"{path} cannot be replaced: only 8 of its 16 bits a channel would stay"
            )
        opaque = ENCODERS[path.suffix.lower()]["format"] == "JPEG"
        if opaque and layers_of(image, str(path)) is not None:
            raise ValueError(f"{path} cannot be replaced: its transparent parts would be lost")


def depth_note(path: Path) -> tuple[str, ...]:
    """What to tell of an image with more than the 8 bits a channel that are written."""
    if not path.is_file():
        return ()
    with open_file(path) as file:
        wide = _has_16_bits(open_pil(file, str(path)))
    return ("only 8 of its 16 bits a channel are written",) if wide else ()


def _has_16_bits(image: ImageFile) -> bool:
    # Tiles tell how pixels are stored, as `RGB;16B`.
    return any(";16" in str(tile[3]) for tile in image.tile)


def read_metadata(path: Path) -> Metadata:
    """The EXIF and color profile of an image, fit for its upright pixels.

    They come from JPEG, PNG, WebP, AVIF and HEIC; nothing of other formats is kept. XMP is left
    out, and so is what may show the original image: thumbnails, maker notes and values of more
    than 512 bytes or numbers. The orientation is reset. Only profiles of RGB pixels are kept.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the EXIF is broken, or `path` is a pipe, which can be read only once.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file; write it without metadata")
    with open_file(path) as file:
        return metadata_of(open_pil(file, str(path)), str(path))


def metadata_of(image: ImageFile, name: str) -> Metadata:
    """As `read_metadata`, from an open image."""
    if image.format not in METADATA_FORMATS:
        return NO_METADATA
    profile = image.info.get("icc_profile") or b""
    try:
        exif = upright_exif(image.info.get("exif") or b"")
    except ValueError as error:
        raise ValueError(f"{name}: {error}; write it without metadata") from error
    kept = {"exif": exif, "icc_profile": profile if profile[16:20] == b"RGB " else b""}
    return {name: value for name, value in kept.items() if value}


def upright_exif(exif: bytes) -> bytes:
    """EXIF for pixels that were turned upright, rewritten without images in it.

    Raises:
        ValueError: the structure is broken.
    """
    if not exif:
        return b""
    try:
        # Pillow warns of damage, and goes on without the tag.
        with catch_warnings() as caught:
            written = _rewrite(exif)
    except Exception as error:  # SyntaxError, struct.error, KeyError, ...
        raise ValueError(f"its EXIF is broken: {error}") from error
    if caught:
        raise ValueError(f"its EXIF is broken: {caught[0].message}")
    return written


def _rewrite(exif: bytes) -> bytes:
    # Tag by tag, so that nothing is left of what is dropped.
    old, new = PIL.Image.Exif(), PIL.Image.Exif()
    old.load(exif)
    new.endian = old.endian
    new.update(_kept(old))
    details = _kept(old.get_ifd(IFD.Exif))
    if interoperability := _kept(old.get_ifd(IFD.Interop)):
        details[IFD.Interop] = interoperability
    width, height = Base.ExifImageWidth, Base.ExifImageHeight
    if new.get(ORIENTATION) in {5, 6, 7, 8} and {width, height} <= details.keys():
        details[width], details[height] = details[height], details[width]
    if ORIENTATION in new:
        new[ORIENTATION] = 1
    for tag, directory in ((IFD.Exif, details), (IFD.GPSInfo, _kept(old.get_ifd(IFD.GPSInfo)))):
        if directory:
            new[tag] = directory
    return new.tobytes()


def _kept(directory: Mapping[int, Any]) -> dict[int, Any]:
    """The tags that may stay, without those that lead to other directories."""
    return {
        int(tag): value
        for tag, value in directory.items()
        if tag not in IMAGE_TAGS | DIRECTORY_TAGS
        and not (isinstance(value, bytes | tuple) and len(value) > MAX_LENGTH)
    }
