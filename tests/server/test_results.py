"""The server's answers are what the commands write."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from zipfile import ZipFile

import numpy as np
import PIL.Image
import pytest
from tests.server.conftest import MODEL, Reply, Server

from extd.cli.app import main
from extd.server.limits import Limits
from extd.server.results import Job
from extd.server.uploads import Upload

Save = Callable[..., bytes]


@pytest.fixture(scope="module")
def images(photo: bytes) -> dict[str, bytes]:
    """The photograph in many formats, and turned, large, transparent, and animated."""
    image = PIL.Image.open(io.BytesIO(photo)).convert("RGB")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera"
    transparent = image.copy()
    transparent.putalpha(PIL.Image.linear_gradient("L").resize(image.size))
    small = image.resize((160, 160))
    pages = {"save_all": True, "append_images": [small.rotate(5), small.rotate(180)]}
    times = {"duration": [50, 70, 90], "loop": 2}

    def save(image: PIL.Image.Image, format_: str, **options: object) -> bytes:
        stream = io.BytesIO()
        image.save(stream, format_, **options)
        return stream.getvalue()

    return {
        "plain.jpg": photo,
        "turned.jpg": save(image.rotate(90), "JPEG", exif=exif, quality=85),
        # Read at half its size.
        "large.jpg": save(image.resize((1400, 700)), "JPEG"),
        "transparent.png": save(transparent.resize((256, 256)), "PNG"),
        "a.webp": save(image.resize((200, 200)), "WEBP"),
        "a.avif": save(small, "AVIF", speed=9),
        "a.bmp": save(small, "BMP"),
        "animated.gif": save(small, "GIF", **pages, **times),
        "moving.png": save(small, "PNG", **pages, **times),
        "turning.webp": save(small, "WEBP", **pages, **times),
        "pages.tif": save(small, "TIFF", **pages),
    }


@pytest.fixture
def folder(images: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, data in images.items():
        Path(name).write_bytes(data)
    return tmp_path


def rows(text: str | bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def groups(images: dict[str, bytes]) -> Iterator[dict[str, bytes]]:
    """The images in requests of three."""
    names = list(images)
    for begin in range(0, len(names), 3):
        yield {name: images[name] for name in names[begin : begin + 3]}


def unpack(reply: Reply) -> dict[str, bytes]:
    assert (reply.status, reply.headers["content-type"]) == (200, "application/zip")
    with ZipFile(io.BytesIO(reply.body)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": ".2", "scales": "0.5,1", "flip": "true"},
        {"rotations": "0,180", "min-face": "60", "track": "true"},
        {"tile": "256", "overlap": "0.5", "longest": "400", "scales": "1"},
    ],
)
def test_detected_faces_are_those_of_the_command(
    options: dict[str, str], server: Server, images: dict[str, bytes], folder: Path
) -> None:
    given = [word for key, value in options.items() for word in (f"--{key}", value)]
    given = [word for word in given if word != "true"]
    query = "&".join(f"{key}={value}" for key, value in options.items())
    assert main(["detect", *images, "--json", "a.jsonl", "--model", MODEL, *given]) == 0
    found: list[object] = []
    for group in groups(images):
        reply = server.send(f"/v1/detect?{query}", group)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        found += json.loads(reply.body)
    assert found == rows(Path("a.jsonl").read_text())


@pytest.mark.parametrize("body_type", ["application/x-www-form-urlencoded", "image/jpeg", ""])
def test_the_body_can_be_the_image(body_type: str, server: Server, photo: bytes) -> None:
    reply = server.request("POST", "/v1/detect", photo, {"Content-Type": body_type})
    (row,) = json.loads(reply.body)
    assert (row["path"], row["width"], len(row["faces"])) == ("image", 512, 1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "pixelate", "shape": "box", "margin": ".5", "strength": "2", "no-check": ""},
        {"keep": "0,0,5,5", "keep-metadata": "", "quality": "60", "max-faces": "1", "hold": "0"},
    ],
)
def test_blurred_images_are_those_of_the_command(
    options: dict[str, str], server: Server, images: dict[str, bytes], folder: Path
) -> None:
    given = [word for key, value in options.items() for word in (f"--{key}", value) if word]
    query = "&".join(
        "check=false" if key == "no-check" else f"{key}={value or 'true'}"
        for key, value in options.items()
    )
    command = ["blur", *images, "--out", "out", "--json", "a.jsonl", "--model", MODEL, *given]
    assert main(command) == 0
    lines = rows(Path("a.jsonl").read_text())
    for group in groups(images):
        files = unpack(server.send(f"/v1/blur?{query}", group))
        assert rows(files.pop("faces.jsonl")) == [row for row in lines if row["path"] in group]
        assert files == {
            path.name: path.read_bytes()
            for path in Path("out").iterdir()
            if path.name.removesuffix(".png") in group or path.name in group
        }
    reply = server.post(f"/v1/blur?{query}", images["a.bmp"])
    assert reply.headers["content-type"] == "image/png"
    assert reply.body == Path("out/a.bmp.png").read_bytes()
    reply = server.post(f"/v1/blur?{query}", images["animated.gif"])
    assert reply.headers["content-type"] == "image/gif"
    assert reply.body == Path("out/animated.gif").read_bytes()
    assert getattr(PIL.Image.open(io.BytesIO(reply.body)), "n_frames", 1) == 3


@pytest.mark.parametrize("options", [{}, {"margin": "1", "square": ""}, {"align": "112"}])
def test_crops_are_those_of_the_command(
    options: dict[str, str], server: Server, images: dict[str, bytes], folder: Path
) -> None:
    given = [word for key, value in options.items() for word in (f"--{key}", value) if word]
    query = "&".join(f"{key}={value or 'true'}" for key, value in options.items())
    assert main(["crop", *images, "--out", "out", "--model", MODEL, *given]) == 0
    files = dict[str, bytes]()
    for group in groups(images):
        got = unpack(server.send(f"/v1/crop?{query}", group))
        assert {row["path"] for row in rows(got.pop("faces.jsonl"))} == set(group)
        files |= got
    assert files == {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert len(files) >= len(images)


@pytest.mark.parametrize(
    ("name", "format_", "kind"),
    [
        ("a.jpeg", "JPEG", "image/jpeg"),
        ("a.JPG", "JPEG", "image/jpeg"),
        ("a.jfif", "JPEG", "image/jpeg"),
        ("a.tiff", "TIFF", "image/tiff"),
        ("a.webp", "WEBP", "image/webp"),
        ("a.gif", "GIF", "image/gif"),
    ],
)
def test_a_single_file_of_a_form_keeps_its_format(
    name: str, format_: str, kind: str, server: Server
) -> None:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (64, 48)).save(stream, format_)
    reply = server.send("/v1/blur", {name: stream.getvalue()})
    assert (reply.status, reply.headers["content-type"]) == (200, kind)
    assert PIL.Image.open(io.BytesIO(reply.body)).format == format_


def test_pages_to_cover_have_a_limit_together(server: Server) -> None:
    stream = io.BytesIO()
    page = PIL.Image.new("L", (1000, 700))
    page.save(stream, "TIFF", compression="tiff_lzw", save_all=True, append_images=[page])
    reply = server.send("/v1/blur?check=false", {"a.tif": stream.getvalue()})
    assert reply.status == 422
    problem = json.loads(reply.body)["detail"]
    assert problem.startswith("a.tif: its pages have more than 1,300,000 pixels together")
    # Here, only one is in memory.
    assert len(json.loads(server.send("/v1/detect", {"a.tif": stream.getvalue()}).body)) == 2


def test_no_further_frame_is_read_once_nobody_waits(images: dict[str, bytes]) -> None:
    job = Job(Upload("a.gif", images["animated.gif"]), Limits(), Event())
    frames = job.frames(job.animation(job.open()))
    assert next(frames).index == 0
    job.abandoned.set()
    with pytest.raises(ValueError, match="the request was given up"):
        next(frames)


def test_one_of_several_images_may_fail(server: Server, photo: bytes) -> None:
    reply = server.send("/v1/detect", {"a.jpg": photo, "b.jpg": photo[:99], "c.jpg": photo})
    assert reply.status == 200
    first, broken, last = json.loads(reply.body)
    assert len(first["faces"]) == len(last["faces"]) == 1
    assert broken["path"] == "b.jpg"
    assert "b.jpg is broken" in broken["error"]
    # Of these results there would be no sign of the one that is missing.
    for path in ("/v1/blur", "/v1/crop"):
        reply = server.send(path, {"a.jpg": photo, "b.jpg": photo[:99]})
        assert reply.status == 422
        assert "b.jpg is broken" in json.loads(reply.body)["detail"]


def test_files_of_one_name_stay_apart(server: Server, photo: bytes) -> None:
    sent = {"x/a.jpg": photo, "..\\\\A.JPG": photo, "etc/\x7f/": photo}
    files = unpack(server.send("/v1/blur", sent))
    assert sorted(files) == ["A-2.JPG", "a.jpg", "etc.jpg", "faces.jsonl"]


def test_results_of_one_name_stay_apart(server: Server, images: dict[str, bytes]) -> None:
    sent = {"a.bmp": images["a.bmp"], "a.bmp.png": images["transparent.png"]}
    files = unpack(server.send("/v1/blur", sent))
    assert list(files) == ["faces.jsonl", "a.bmp.png", "a.bmp-2.png"]
    assert PIL.Image.open(io.BytesIO(files["a.bmp-2.png"])).size == (256, 256)
    files = unpack(server.send("/v1/crop?threshold=0.5", sent))
    assert list(files) == ["faces.jsonl", "a.bmp-001.png", "a.bmp-001-2.png"]


def test_a_large_answer_arrives_whole(server: Server) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (550, 550, 3), np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(noise).save(stream, "BMP")
    reply = server.post("/v1/blur?check=false", stream.getvalue())
    assert len(reply.body) == int(reply.headers["content-length"]) > 900_000
    assert PIL.Image.open(io.BytesIO(reply.body)).size == (550, 550)
