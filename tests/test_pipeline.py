from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import extd
from extd.detector import Detector


def draw(path: Path) -> Path:
    """Write a 64 x 48 image, with a face of 12 px for the toy detector."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[24:32, 8:16] = 255, 6, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path)
    return path


def test_a_folder_is_anonymized_in_one_call(tmp_path: Path, toy: str) -> None:
    album, out = tmp_path / "album", tmp_path / "out"
    draw(album / "trip" / "a.png")
    (album / "b.jpg").write_text("text")
    options = extd.BlurOptions(extd.AnonymizeOptions("solid"))
    reports = dict(extd.blur_images([album], out, Detector(toy), options))
    assert isinstance(reports[album / "b.jpg"], ValueError)
    report = reports[album / "trip" / "a.png"]
    assert isinstance(report, extd.Report)
    assert report.faces == 1
    assert not extd.read_image(out / "trip" / "a.png").any()
    with pytest.raises(ValueError, match="would replace the image"):
        list(extd.blur_images([album / "trip" / "a.png"], album / "trip", Detector(toy)))


def test_files_are_processed_in_one_call_each(tmp_path: Path, toy: str) -> None:
    detector, source = Detector(toy), draw(tmp_path / "a.png")
    options = extd.BlurOptions(extd.AnonymizeOptions("solid"))
    report = extd.blur_image(source, tmp_path / "b.png", detector, options)
    assert (report.frames, report.faces, report.again) == (1, 1, [])
    faces = extd.detect_image(source, detector, target=tmp_path / "c.png")
    assert len(faces) == 1
    assert (extd.read_image(tmp_path / "c.png") != extd.read_image(source)).any()
    assert extd.crop_image(source, tmp_path / "d.png", detector) == [tmp_path / "d-001.png"]
    assert extd.read_image(tmp_path / "d-001.png").shape == (18, 18, 3)
