from __future__ import annotations

from pathlib import Path

import numpy as np

from extd.faces import Faces
from extd.images import Image, read_image
from extd.measure.gallery import MOST_FACES, choose, draw_gallery
from extd.measure.subsets import Subsets, by_size
from extd.measure.wider import Picture

EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


def picture(name: str, *sides: float) -> Picture:
    boxes = np.array([[10.0 * i, 0, side, side] for i, side in enumerate(sides)]).reshape(-1, 4)
    return Picture("0--Parade", name, boxes, np.ones((3, len(sides)), np.bool_))


def blurred(pictures: list[Picture], **faces: int) -> Subsets:
    """The first `faces` of each picture are heavily blurred."""
    changed = []
    for one in pictures:
        blur = np.arange(len(one.boxes)) < faces.get(one.name, 0)
        keep = np.stack([one.keep[0], blur])
        changed.append(Picture(one.event, one.name, one.boxes, keep))
    return Subsets(("all", "heavy blur"), tuple(changed))


def test_each_condition_takes_the_picture_with_the_most_such_faces() -> None:
    pictures = [
        picture("crowd", *[10] * (MOST_FACES + 1)),
        picture("a", 10, 10, 300),
        picture("b", 12, 12, 12),
        picture("c", 10, 10, 10),
        picture("d", 300),
        picture("gone", *[10] * 9),
    ]
    paths = {one.key: Path(one.name) for one in pictures if one.name != "gone"}
    chosen = choose(paths, [by_size(pictures), blurred(pictures, b=2, a=1, crowd=3)])
    # b and c have as many tiny faces; b is taken then, so that blur falls to a.
    assert [(one.condition, one.path.name) for one in chosen] == [
        ("< 16 px", "b"),
        (">= 192 px", "a"),
    ]
    chosen = choose(paths, [by_size(pictures), blurred(pictures, d=1)])
    assert [one.path.name for one in chosen] == ["b", "a", "d"]
    assert choose({}, [by_size(pictures), blurred(pictures)]) == []


def test_the_page_counts_the_faces_that_are_found(tmp_path: Path) -> None:
    wanted = Picture("0--Parade", "a", np.array([[10.0, 10, 200, 200]]), np.ones((3, 1), np.bool_))
    exhibits = choose({"0--Parade/a": EXAMPLE}, [by_size([wanted]), blurred([wanted])])
    seen: list[Image] = []

    def detect(image: Image) -> Faces:
        seen.append(image)
        return Faces([[12, 12, 210, 208]], [0.9], image.shape[1], image.shape[0])

    draw_gallery(exhibits, detect, "caption", tmp_path / "page.png")
    assert np.array_equal(seen[0], read_image(EXAMPLE))
    assert read_image(tmp_path / "page.png").std() > 5
