"""Small valid inputs of every kind that extd reads, and how each kind is read."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import onnx
import PIL.Image
import pillow_heif
from PIL import PngImagePlugin

from extd.data.check import check_labels
from extd.data.datasets import FORMATS, WRITABLE, read_dataset, write_dataset
from extd.data.sample import Sample
from extd.images import image_size, read_image
from extd.media.animation import frame_count, open_animation
from extd.media.transparency import read_layers
from extd.media.video import Fault, open_video
from extd.media.writers import encoding, read_metadata
from extd.models.network import load_network
from extd.runtime import OnnxModel
from extd.training.recipe import load_recipe

ROOT = Path(__file__).parents[1]
Files = Mapping[str, bytes]
"""Content by relative path. The first is mutated and read; the others lie beside it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of input.

    Attributes:
        make: the valid inputs by name.
        read: reads a file of it in every way that extd does.
        folder: whether the folder is read, not the file.
    """

    make: Callable[[], dict[str, Files]]
    read: Callable[[Path], None]
    folder: bool = False


def make_images() -> dict[str, Files]:
    """Images of 40 formats and variants."""
    row, column = np.mgrid[:36, :52]
    ramp = np.stack([column * 4, row * 7, (row * column) % 256], 2).astype(np.uint8)
    rgb = PIL.Image.fromarray(ramp)
    rgba = rgb.copy()
    rgba.putalpha(PIL.Image.fromarray((row * 7).astype(np.uint8)))
    wide = PIL.Image.fromarray((row * column * 30).astype(np.uint16))
    turned, text = PIL.Image.Exif(), PngImagePlugin.PngInfo()
    turned[0x0112] = 6
    text.add_text("comment", "x" * 500, zip=True)
    text.add_itxt("other", "y" * 50)
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    heif = pillow_heif.from_pillow(rgb)
    buffer = io.BytesIO()
    heif.save(buffer)
    made: dict[str, Files] = {"heic": {"heic.heic": buffer.getvalue()}}
    variants: list[tuple[str, PIL.Image.Image, dict[str, object]]] = [
        ("rgb.jpg", rgb, {}),
        ("gray.jpg", rgb.convert("L"), {}),
        ("cmyk.jpg", rgb.convert("CMYK"), {}),
        ("progressive.jpg", rgb, {"progressive": True, "subsampling": 0}),
        ("turned.jpg", rgb, {"exif": turned, "icc_profile": bytes(400), "restart_marker_rows": 1}),
        ("rgb.png", rgb, {"pnginfo": text, "exif": turned, "icc_profile": bytes(400)}),
        ("rgba.png", rgba, {}),
        ("palette.png", rgb.quantize(16), {"transparency": 3}),
        ("one.png", rgb.convert("1"), {}),
        ("gray.png", rgba.convert("LA"), {"compress_level": 0}),
        ("wide.png", wide, {}),
        ("frames.png", rgb, {**frames, "duration": 50}),
        ("lossy.webp", rgb, {"exif": turned}),
        ("lossless.webp", rgba, {"lossless": True}),
        ("alpha.webp", rgba, {}),
        ("frames.webp", rgb, frames),
        ("rgb.avif", rgb, {"speed": 10}),
        ("alpha.avif", rgba, {"speed": 10, "exif": turned}),
        ("frames.avif", rgb, {**frames, "speed": 10}),
        ("lossless.avif", rgb, {"quality": 100, "subsampling": "4:4:4", "speed": 10}),
        ("raw.tif", rgb, {"exif": turned}),
        ("big.tif", rgb, {"big_tiff": True}),
        ("lzw.tif", rgb, {"compression": "tiff_lzw"}),
        ("deflate.tif", rgba, {"compression": "tiff_adobe_deflate"}),
        ("jpeg.tif", rgb, {"compression": "jpeg"}),
        ("packbits.tif", rgb.convert("L"), {"compression": "packbits"}),
        ("fax.tif", rgb.convert("1"), {"compression": "group4"}),
        ("lzma.tif", rgb, {"compression": "lzma"}),
        ("zstd.tif", rgb, {"compression": "zstd"}),
        ("palette.tif", rgb.quantize(16), {}),
        ("wide.tif", wide, {"compression": "tiff_lzw"}),
        ("float.tif", PIL.Image.fromarray((ramp[..., 0] / 255).astype(np.float32)), {}),
        ("cmyk.tif", rgb.convert("CMYK"), {}),
        ("pages.tif", rgb, frames),
        ("rgb.bmp", rgb, {}),
        ("palette.bmp", rgb.quantize(16), {}),
        ("rgba.bmp", rgba, {}),
        ("one.bmp", rgb.convert("1"), {}),
        ("still.gif", rgb.quantize(16), {"transparency": 2}),
        ("frames.gif", rgb, {**frames, "duration": 40, "disposal": 2}),
    ]
    for name, image, options in variants:
        buffer = io.BytesIO()
        image.save(buffer, PIL.Image.registered_extensions()[Path(name).suffix], **options)
        made[name] = {name: buffer.getvalue()}
    return made


def read_picture(path: Path) -> None:
    """Read an image in the ways that detect and blur do."""
    image_size(path)
    if frame_count(path) > 1:
        with open_animation(path) as animation:
            for frame in animation.frames():
                if isinstance(frame, Fault):
                    raise frame.error
            animation.timing()
    read_image(path)
    read_layers(path)
    read_metadata(path)
    encoding(path.with_suffix(".jpg"), path)


def make_films() -> dict[str, Files]:
    """Films of seven containers with sound."""
    codecs = {
        "mp4": ("h264", "aac"),
        "mov": ("mpeg4", "aac"),
        "mkv": ("h264", "libopus"),
        "webm": ("libvpx", "libopus"),
        "avi": ("mpeg4", "mp3"),
        "mpg": ("mpeg2video", "mp2"),
        "ts": ("h264", "mp2"),
    }
    row, column = np.mgrid[:48, :64]
    made: dict[str, Files] = {}
    for suffix, (video_codec, audio_codec) in codecs.items():
        buffer = io.BytesIO()
        form = {"mkv": "matroska", "ts": "mpegts", "mpg": "mpeg"}.get(suffix, suffix)
        with av.open(buffer, "w", format=form) as container:
            video = container.add_stream(video_codec, rate=25)
            audio = container.add_stream(audio_codec, rate=48000)
            assert isinstance(video, av.VideoStream)
            assert isinstance(audio, av.AudioStream)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for index in range(8):
                pixels = np.stack([column * 4, row * 5, column * 0 + 9 * index], 2)
                frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
                container.mux(video.encode(frame))
            silence = np.zeros((1, 2 * 1152), np.int16)
            sound = av.AudioFrame.from_ndarray(silence, format="s16", layout="stereo")
            sound.sample_rate = 48000
            container.mux([*video.encode(None), *audio.encode(sound), *audio.encode(None)])
        made[f"film.{suffix}"] = {f"film.{suffix}": buffer.getvalue()}
    return made


def read_film(path: Path) -> None:
    """Decode all frames of a film."""
    with open_video(path) as video:
        for frame in video.frames():
            if isinstance(frame, Fault):
                raise frame.error


def make_labels() -> dict[str, Files]:
    """A set of two images in every format of labels."""
    made: dict[str, Files] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        boxes = np.array([[4, 5, 30, 28], [1.5, 2, 9, 8.25]], np.float32)
        points = np.arange(20, dtype=np.float32).reshape(2, 10)
        samples = []
        for stem in ("a", "b"):
            path = folder / f"{stem}.png"
            PIL.Image.new("RGB", (52, 36)).save(path)
            samples.append(Sample(path, 52, 36, boxes, boxes[:1], landmarks=points))
        images = {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}
        for format_ in WRITABLE:
            suffix = FORMATS[format_].suffix
            out = folder / format_ / f"labels{suffix}" if suffix else folder / format_
            write_dataset(samples, out, format_, copy=True)
            root = folder / format_
            files = {str(one.relative_to(root)): one for one in root.rglob("*") if one.is_file()}
            texts = [file for file in files if not file.endswith(".png")]
            for text in texts:
                order = [text, *(file for file in files if file != text)]
                made[f"{format_}-{Path(text).name}"] = {
                    file: files[file].read_bytes() for file in order
                }
    face = "1 2 30 20 " + " ".join(f"{n} {n}.5 0.0" for n in range(5, 10)) + " 0.9\n"
    made["retinaface"] = {"label.txt": f"# a.png\n{face}{face}# b.png\n{face}".encode(), **images}
    shape = {"label": "face", "points": [[1, 2], [30, 22]], "shape_type": "rectangle", "flags": {}}
    entry = {"version": "5", "shapes": [shape], "imagePath": "a.png", "imageData": None}
    sized = {**entry, "imageHeight": 36, "imageWidth": 52}
    made["labelme"] = {"a.json": json.dumps(sized).encode(), **images}
    box = '<box label="face" xtl="1" ytl="2" xbr="31.5" ybr="22"/>'
    own = f'<image id="0" name="a.png" width="52" height="36">{box}</image>'
    made["cvat"] = {"annotations.xml": f"<annotations>{own}</annotations>".encode(), **images}
    rle = {"counts": [100, 20, 32, 20, 1700], "size": [36, 52]}
    polygon = [[1, 2, 30, 4, 20, 22.5]]
    faces = [
        {"id": 1, "image_id": 0, "category_id": 1, "segmentation": rle, "iscrowd": 1},
        {"id": 2, "image_id": 0, "category_id": 1, "segmentation": polygon},
    ]
    coco = {
        "images": [{"id": 0, "file_name": "a.png", "width": 52, "height": 36}],
        "annotations": faces,
        "categories": [{"id": 1, "name": "face"}],
    }
    made["coco-masks"] = {"masks.json": json.dumps(coco).encode(), **images}
    lines = "0 .5 .5 .4 .4 .3 .4 .6 .4 .5 .5 .4 .6 .6 .6\n0 .1 .1 .3 .1 .3 .4 .1 .4\n"
    made["yolo-points"] = {"a.txt": lines.encode(), **images}
    table = b"ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na.png,/m/0dzct,0.1,.5,.2,.6,0\n"
    made["open-images"] = {"labels.csv": table, **images}
    return made


def read_labels(folder: Path) -> None:
    """Read a labeled set, and check it."""
    list(check_labels(read_dataset(folder, report=lambda path, fault: None)))


def make_recipes() -> dict[str, Files]:
    """The recipes that ship."""
    folder = ROOT / "src" / "extd" / "recipes"
    return {path.name: {path.name: path.read_bytes()} for path in folder.glob("*.yaml")}


def read_recipe(path: Path) -> None:
    """Load a recipe."""
    load_recipe(path, [Path("labels.jsonl")])


def make_onnx() -> dict[str, Files]:
    """The smallest exported detectors, and one that decodes its boxes."""
    names = ("extd-lite-nano.onnx", "extd-lite-nano-int8.onnx", "extd-fpn-32-prelu.onnx")
    folder = ROOT / "src" / "extd" / "weights"
    made: dict[str, Files] = {}
    for name in names:
        model = onnx.load(folder / name)
        made[name] = {name: model.SerializeToString()}
    return made


def read_onnx(path: Path) -> None:
    """Load a network, and run it on a small image."""
    OnnxModel(path, threads=1).run(np.zeros((1, 64, 64, 3), np.uint8), 0.1)


def make_safetensors() -> dict[str, Files]:
    """Weights that ship."""
    folder = ROOT / "src" / "extd" / "weights"
    return {path.name: {path.name: path.read_bytes()} for path in folder.glob("*.safetensors")}


def read_safetensors(path: Path) -> None:
    """Load weights into their network."""
    load_network(path)


KINDS = {
    "images": Kind(make_images, read_picture),
    "films": Kind(make_films, read_film),
    "labels": Kind(make_labels, read_labels, folder=True),
    "recipes": Kind(make_recipes, read_recipe),
    "onnx": Kind(make_onnx, read_onnx),
    "safetensors": Kind(make_safetensors, read_safetensors),
}
