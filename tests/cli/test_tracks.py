"""Parts of films, and the way from `detect --track` over an edited file to `blur --faces`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest

import extd
from extd.cli.app import main

Captured = pytest.CaptureFixture[str]
HIDDEN = range(12, 22)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lambda: extd.BlurOptions(gap=-1), "gap is -1"),
        (lambda: extd.BlurOptions(quality=101), "quality is 101"),
        (lambda: extd.BlurOptions(outside="cover"), "outside is 'cover'; give drop or keep"),
        (lambda: extd.VideoOptions(audio="none"), "audio is 'none'; give auto, copy"),
    ],
)
def test_options_out_of_range_are_refused(options: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options()


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A video of 40 frames: one face stays, one moves and is hidden for ten frames."""
    monkeypatch.chdir(tmp_path)
    with av.open("a.mp4", "w") as output:
        track = output.add_stream("libx264", rate=25, options={"crf": "1", "g": "1"})
        track.width, track.height, track.pix_fmt = 128, 48, "yuv420p"
        for index in range(40):
            image = np.zeros((48, 128, 3), np.uint8)
            x = 8 + 8 * (index // 4)
            if index not in HIDDEN:
                image[8:16, x : x + 8] = 255, 6, 0
            image[32:40, 48:56] = 255, 6, 0
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(track.encode(frame))
        output.mux(track.encode())
    return "a.mp4"


def run(command: str, *arguments: str, model: str) -> int:
    return main([command, "a.mp4", *arguments, "--model", model])


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def shown(path: str) -> list[tuple[bool, bool]]:
    """Whether the moving and the resting face are to be seen in each frame of a video."""
    frames = [item for item in extd.open_source(path) if isinstance(item, extd.Frame)]
    reds = [frame.image[..., 0] > 100 for frame in frames]
    return [(bool(red[:24].any()), bool(red[24:].any())) for red in reds]


def blur(*arguments: str, model: str = "none.onnx") -> int:
    return run("blur", "--method", "solid", *arguments, model=model)


def test_ids_hold_while_a_face_is_hidden(film: str, toy: str) -> None:
    arguments = ["--track", "--json", "faces.jsonl", "--csv", "faces.csv", "--out", "boxed"]
    assert run("detect", *arguments, model=toy) == 0
    ids = [sorted(face["id"] for face in row["faces"]) for row in rows("faces.jsonl")]
    assert ids == [[2] if index in HIDDEN else [1, 2] for index in range(40)] or ids == [
        [1] if index in HIDDEN else [1, 2] for index in range(40)
    ]
    header, first = Path("faces.csv").read_text().splitlines()[:2]
    assert header.endswith(",score,id")
    assert first.rsplit(",", 1)[1] in {"1", "2"}
    assert run("detect", "--json", "bare.jsonl", model=toy) == 0
    assert all("id" not in face for row in rows("bare.jsonl") for face in row["faces"])


@pytest.fixture
def found(film: str, toy: str) -> list[dict[str, Any]]:
    """The rows of faces.jsonl; the moving face is id 1, the resting one id 2."""
    assert run("detect", "--track", "--json", "faces.jsonl", model=toy) == 0
    found = rows("faces.jsonl")
    for row in found:
        for face in row["faces"]:
            face["id"] = 1 if face["box"][1] + face["box"][3] < 48 else 2
    save(found)
    return found


def save(found: Sequence[dict[str, Any]]) -> None:
    Path("faces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


def test_faces_are_covered_from_a_file_without_the_network(
    found: list[dict[str, Any]], toy: str, capsys: Captured
) -> None:
    assert blur("--faces", "faces.jsonl", "--out", "new") == 0
    assert not any(map(any, shown("new/a.mp4")))
    assert blur("--faces", "faces.jsonl", "--keep-id", "2", "--out", "kept") == 0
    assert shown("kept/a.mp4") == [(False, True)] * 40
    both = ["--keep-id", "1", "--keep-id", "2"]
    assert blur("--faces", "faces.jsonl", *both, "--out", "both") == 0
    assert shown("both/a.mp4") == [(index not in HIDDEN, True) for index in range(40)]
    assert capsys.readouterr().err == ""


def test_an_edited_file_counts(found: list[dict[str, Any]], capsys: Captured) -> None:
    del found[5]["faces"][:]
    save(found[:30])
    assert blur("--faces", "faces.jsonl", "--hold", "0", "--out", "new") == 0
    told = shown("new/a.mp4")
    assert told == [(index == 5 or index >= 30, index == 5 or index >= 30) for index in range(40)]
    assert "note: a.mp4: faces.jsonl has no line about 10 of 40 frames" in (capsys.readouterr().err)


def test_faces_without_ids_are_tracked(film: str, toy: str) -> None:
    assert run("detect", "--every", "4", "--json", "faces.jsonl", model=toy) == 0
    assert blur("--faces", "faces.jsonl", "--out", "new") == 0
    assert not any(resting for _, resting in shown("new/a.mp4"))


def test_a_part_is_found_by_its_times(found: list[dict[str, Any]]) -> None:
    part = ["--start", "0.4", "--end", "0.8", "--out"]
    assert blur("--faces", "faces.jsonl", "--keep-id", "2", *part, "new") == 0
    assert shown("new/a.mp4") == [(False, True)] * 10
    save([{**row, "time": row["time"] + 100} for row in found])
    for outside in ("drop", "keep"):
        assert blur("--faces", "faces.jsonl", "--outside", outside, *part, "other") == 1
    assert not Path("other/a.mp4").exists()


def test_images_and_folders_are_covered_from_a_file(
    tmp_path: Path, toy: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    image = np.zeros((48, 64, 3), np.uint8)
    image[24:32, 8:16] = 255, 6, 0
    Path("album").mkdir()
    for name in ("a", "b"):
        PIL.Image.fromarray(image).save(f"album/{name}.png")
    assert main(["detect", "album", "--json", "faces.jsonl", "--model", toy]) == 0
    PIL.Image.fromarray(image).save("album/c.png")
    command = ["blur", "album", "--faces", "faces.jsonl", "--method", "solid", "--out", "new"]
    assert main([*command, "--model", "none.onnx"]) == 1
    assert sorted(path.name for path in Path("new").iterdir()) == ["a.png", "b.png"]
    assert not extd.read_image("new/a.png").any()
    assert "faces.jsonl has no line about album/c.png" in capsys.readouterr().err


def test_what_is_outside_a_part_is_dropped_or_kept_uncovered(film: str, toy: str) -> None:
    part = ["--start", "0.2", "--end", "0.4"]
    assert blur(*part, "--out", "new", model=toy) == 0
    assert shown("new/a.mp4") == [(False, False)] * 5
    assert blur(*part, "--outside", "keep", "--out", "all", "--json", "lines", model=toy) == 0
    assert shown("all/a.mp4") == [
        (index not in HIDDEN and index not in range(5, 10), index not in range(5, 10))
        for index in range(40)
    ]
    assert [row["time"] for row in rows("lines")] == [0.2, 0.24, 0.28, 0.32, 0.36]


def test_every_and_max_faces(film: str, toy: str) -> None:
    arguments = ["--every", "10", "--max-faces", "1", "--hold", "0", "--out", "new"]
    assert blur(*arguments, model=toy) == 0
    assert [sum(pair) for pair in shown("new/a.mp4")] == [1, 1, 0, 1]


def test_json_has_all_faces_that_were_covered(film: str, toy: str) -> None:
    assert blur("--out", "new", "--hold", "9", "--json", "lines", model=toy) == 0
    # A third one where the moving face was lost and where it came back.
    assert {len(row["faces"]) for row in rows("lines")} == {2, 3}
    assert blur("--out", "again", "--faces", "lines", "--hold", "0") == 0
    assert shown("again/a.mp4") == shown("new/a.mp4")


def test_the_encoder_can_be_chosen(film: str, toy: str) -> None:
    for crf in ("10", "50"):
        arguments = ["--encoder", "libx265", "--crf", crf, "--out", crf]
        assert blur(*arguments, "--no-check", model=toy) == 0
        with av.open(f"{crf}/a.mp4") as video:
            assert video.streams.video[0].codec_context.name == "hevc"
            assert video.streams.video[0].frames == 40
    assert Path("10/a.mp4").stat().st_size > Path("50/a.mp4").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faces", "bad.jsonl"], "bad.jsonl, line 2: 'box' is missing"),
        (["--faces", "none.jsonl"], "there is no file none.jsonl"),
        (["--faces", "faces.jsonl", "--keep-id", "9"], "no face in faces.jsonl has this id"),
        (["--keep-id", "2"], "--keep-id needs --faces"),
        (["--json=film.mp4"], "results would replace the video film.mp4"),
        (["--outside", "keep", "--every", "2"], "every is 2"),
        (["--outside", "blur"], "blur"),
        (["--start", "9", "--end", "2"], "end is 2"),
        (["--encoder", "none"], "none is no encoder of this FFmpeg"),
        (["--encoder", "aac"], "aac does not encode videos"),
        (["--crf", "64"], "crf is 64; give 0 to 63"),
    ],
)
def test_wrong_usage_is_explained_and_nothing_is_written(
    found: list[dict[str, Any]], capsys: Captured, arguments: list[str], message: str
) -> None:
    lines = [json.dumps(row) for row in found]
    Path("bad.jsonl").write_text("\n".join([lines[0], lines[1].replace("box", "bax")]))
    capsys.readouterr()
    assert blur(*arguments, "--out", "new") == 2
    assert message in capsys.readouterr().err
    assert not Path("new").exists()
