from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from extd.data.sample import Sample
from extd.images import read_image
from extd.measure.pascal import (
    curve_rows,
    evaluate_voc,
    judged,
    plot_curve,
    read_faces,
    report,
)
from extd.measure.predictions import Prediction

FACE, OTHER, SMALL, IGNORED = (10, 10, 50, 50), (60, 10, 110, 60), (5, 70, 25, 95), (60, 70, 99, 99)


def found(*rows: tuple[float, ...]) -> Prediction:
    """Detections x1, y1, x2, y2, score."""
    values = np.reshape(np.array(rows, np.float64), (-1, 5))
    values[:, 2:4] -= values[:, :2]
    return Prediction(values[:, :4], values[:, 4])


@pytest.fixture
def picture(tmp_path: Path) -> Sample:
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.zeros((100, 120, 3), np.uint8))
    boxes = np.array([FACE, OTHER, SMALL], np.float32)
    return Sample(path, 120, 100, boxes, np.array([IGNORED], np.float32))


def test_each_detection_is_judged(picture: Sample) -> None:
    detections = found(
        (*FACE, 0.9),
        (12, 12, 52, 52, 0.8),
        (*IGNORED, 0.7),
        (*SMALL, 0.6),
        (*OTHER, 0.5),
        (100, 80, 121, 101, 0.4),
        (100, 80, 122, 102, 0.3),
    )
    # The small face and the ignored one do not count, nor do detections of 21 px.
    verdicts = judged(detections, picture, 30)
    assert verdicts.tolist() == [[0.9, 1], [0.8, 0], [0.5, 1], [0.3, 0]]


def test_average_precision_by_hand(picture: Sample, tmp_path: Path) -> None:
    answers = iter([found((*FACE, 0.9), (60, 40, 90, 70, 0.8)), found((*OTHER, 0.7))])
    result = evaluate_voc(lambda _: next(answers), [picture, picture])
    assert (result.images, result.faces) == (2, 4)
    # Right at ranks 1 and 3 of 3: a quarter of the recall at 1, another at 2/3.
    assert result.curve.ap == pytest.approx(1 / 4 + 1 / 4 * 2 / 3)
    assert report(result, "m", "single")["ap"] == pytest.approx(0.41667)
    assert curve_rows(result)[-1] == {"threshold": 0.7, "recall": 0.5, "precision": 0.666667}
    plot_curve(result, "m", tmp_path / "curve.png")
    assert read_image(tmp_path / "curve.png").std() > 0
    assert evaluate_voc(lambda _: found(), [picture]).curve.ap == 0
    assert evaluate_voc(lambda _: found(), [picture], smallest=20).faces == 3
    with pytest.raises(ValueError, match="60 px"):
        evaluate_voc(lambda _: found(), [picture], smallest=60)


def mat(path: Path, **variables: object) -> Path:
    savemat(path, variables)
    return path


def test_the_toolboxs_file_and_voc_files_say_the_same(picture: Sample, tmp_path: Path) -> None:
    entries = np.zeros((2, 1), [("imgname", object), ("objects", object)])
    rows = [[11, 11, 50, 50, 0, 0], [61, 71, 99, 99, 0, 1]]
    entries[0, 0] = ("a.jpg", np.array(rows, float))
    entries[1, 0] = ("a.jpg", np.array([[61, 11, 110, 60]], float))
    annotated = read_faces(mat(tmp_path / "all.mat", Annotations=entries), tmp_path)
    assert [one.boxes.tolist() for one in annotated] == [[list(FACE)], [list(OTHER)]]
    assert annotated[0].ignore.tolist() == [list(IGNORED)]
    assert (annotated[0].path, annotated[0].width) == (picture.path, 120)

    objects = "".join(
        f"<object><name>face</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin>"
        f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for x1, y1, x2, y2, _, difficult in rows
    )
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    (voc,) = read_faces(tmp_path, tmp_path)
    assert voc.boxes.tolist() == [list(FACE)]
    assert voc.ignore.tolist() == [list(IGNORED)]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*none\.mat"):
        read_faces(tmp_path / "none.mat", tmp_path)
    with pytest.raises(ValueError, match="no struct array Annotations"):
        read_faces(mat(tmp_path / "other.mat", boxes=np.zeros(4)), tmp_path)
    nameless = np.zeros(1, [("imgname", object), ("objects", object)])
    for name, faces, message in ((np.zeros(0), np.zeros(4), "0 names"), ("a", "b", "no numbers")):
        nameless["imgname"][0], nameless["objects"][0] = name, faces
        with pytest.raises(ValueError, match=message):
            read_faces(mat(tmp_path / "odd.mat", Annotations=nameless), tmp_path)
    (tmp_path / "text.mat").write_text("no")
    with pytest.raises(ValueError, match="not a MATLAB file"):
        read_faces(tmp_path / "text.mat", tmp_path)
    with pytest.raises(FileNotFoundError, match="XML"):
        read_faces(tmp_path, tmp_path)
