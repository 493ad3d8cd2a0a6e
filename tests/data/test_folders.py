from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from extd.data.folders import link_or_copy, whole_folder


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")

    def stop(name: str) -> None:
        with whole_folder(tmp_path / name) as partial:
            (partial / "a").write_text("a")
            raise RuntimeError

    for name in ("new/deep", "link"):
        with pytest.raises(RuntimeError):
            stop(name)
        assert not (tmp_path / name / "a").exists()
        with whole_folder(tmp_path / name) as partial:
            (partial / "a").write_text("a")
            assert not (tmp_path / name / "a").exists()
        assert [path.name for path in (tmp_path / name).iterdir()] == ["a"]
    with pytest.raises(FileExistsError, match="link is not empty"), whole_folder(tmp_path / "link"):
        pass
    assert (tmp_path / "link").is_symlink()
    assert not list(tmp_path.rglob("*.partial"))


def test_pictures_whose_size_stands_at_the_end_are_copied(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    # Pillow writes the directory first; here it comes last.
    start = int.from_bytes(data[4:8], "little")
    moved = data + b"\0" * (len(data) % 2)
    path.write_bytes(data[:4] + len(moved).to_bytes(4, "little") + moved[8:] + data[start:1024])
    with ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.write(path, "a.tif")
        bundle.writestr("b.jpg", "text")
    for source in (path, tmp_path / "a.zip" / "a.tif"):
        link_or_copy(source, tmp_path / "copy.tif", copy=True)
        assert (tmp_path / "copy.tif").read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match=r"b\.jpg is broken or not an image"):
        link_or_copy(tmp_path / "a.zip" / "b.jpg", tmp_path / "copy.jpg", copy=True)
    assert not (tmp_path / "copy.jpg").exists()
