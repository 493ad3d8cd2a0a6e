from __future__ import annotations

import copy
import io
import math
import multiprocessing
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import extd
from extd.boxes import iou, longer_side
from extd.detector import Detector, Options, reduction
from extd.faces import Faces
from extd.images import read_image, resize

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def detector(toy: str) -> Detector:
    return Detector(toy, options=Options(threshold=0.3), threads=1)


@pytest.fixture(scope="module")
def voting(toy: str, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """The same, whose file asks for votes."""
    model = onnx.load(toy)
    model.metadata_props.add(key="extd.votes", value="true")
    path = tmp_path_factory.mktemp("voting") / "toy.onnx"
    onnx.save(model, path)
    return Detector(path, options=Options(threshold=0.3), threads=1)


def draw(*faces: tuple[int, int, int, int], width: int = 64, height: int = 48) -> Pixels:
    """Black but for cells (column, row, red, green), 8 x 8 px each."""
    image = np.zeros((height, width, 3), np.uint8)
    for column, row, red, green in faces:
        image[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8, :2] = red, green
    return image


def test_faces_are_in_pixels_of_the_image_best_first(detector: Detector) -> None:
    faces = detector.detect(draw((1, 1, 102, 4), (5, 3, 255, 3), (5, 5, 153, 2)))
    assert faces == Faces(
        [[41, 25, 47, 31], [42, 42, 46, 46], [8, 8, 16, 16]],
        np.array([1, 0.6, 0.4], np.float32),
        64,
        48,
    )


def test_a_image_without_faces_gives_an_empty_result(detector: Detector) -> None:
    assert detector.detect(draw()) == Faces.empty(64, 48)


def test_scores_must_exceed_the_threshold(detector: Detector) -> None:
    image = draw((1, 1, 51, 4), (5, 3, 52, 4))
    assert len(detector.detect(image, Options(threshold=0.2))) == 1
    assert len(detector.detect(image, Options(threshold=0.19))) == 2


def test_of_overlapping_boxes_the_best_stays(detector: Detector) -> None:
    image = draw((1, 1, 200, 12), (2, 1, 250, 12), (3, 1, 150, 12))
    # Neighbors, shifted by 8 of 24 px, have an IoU of 0.5, the outer two of 0.2.
    assert len(detector.detect(image, Options(nms_iou=0.49))) == 1
    assert len(detector.detect(image, Options(nms_iou=0.51))) == 3
    assert detector.detect(image, Options(nms_iou=0.49)).scores[0] == np.float32(250 / 255)


def test_where_the_file_asks_for_votes_the_best_moves_to_the_others(
    detector: Detector, voting: Detector
) -> None:
    image = draw((1, 1, 200, 12), (2, 1, 250, 12))
    # Boxes of 24 px, 8 px apart, with an IoU of 0.5: the lesser draws the better one to itself.
    box = voting.detect(image).boxes[0]
    assert box == pytest.approx([8 - 8 * 100 / 350, 0, 32 - 8 * 100 / 350, 24])
    assert voting.detect(image).scores == detector.detect(image).scores
    # A box below the threshold has its vote, so that the threshold moves nothing.
    assert np.array_equal(voting.detect(image, Options(threshold=0.9)).boxes[0], box)
    # One of less than half the score has none.
    image = draw((1, 1, 110, 12), (2, 1, 250, 12))
    assert voting.detect(image) == detector.detect(image)


def test_limits_on_the_number_keep_the_best(detector: Detector) -> None:
    image = draw((1, 1, 100, 4), (3, 1, 255, 4), (5, 1, 204, 4))
    for options in (Options(max_faces=2), Options(top_k=2)):
        assert detector.detect(image, options).scores.tolist() == pytest.approx([1, 0.8])


def test_suppression_comes_after_the_best_of_each_pass_are_taken(detector: Detector) -> None:
    image = draw((1, 1, 255, 12), (2, 1, 250, 12), (6, 1, 200, 4))
    assert len(detector.detect(image, Options(top_k=2))) == 1
    assert len(detector.detect(image, Options(max_faces=2))) == 2


def test_sizes_count_the_longer_side_and_leave_room_for_others(detector: Detector) -> None:
    image = draw((1, 1, 255, 2), (4, 3, 204, 5), (6, 3, 153, 7))
    sizes = longer_side(detector.detect(image, Options(min_face=10)).boxes)
    assert sizes.tolist() == [10, 14]
    sizes = longer_side(detector.detect(image, Options(max_face=10)).boxes)
    assert sizes.tolist() == [4, 10]
    # A face of the wrong size takes no place.
    assert len(detector.detect(image, Options(min_face=10, max_faces=2))) == 2


def test_without_a_limit_every_face_of_a_crowd_is_found(toy: str) -> None:
    crowd = np.zeros((800, 800, 3), np.uint8)
    # A face in every cell, which touches the next ones.
    crowd[..., :2] = 255, 4
    assert len(Detector(toy).detect(crowd)) == 10_000
    assert len(Detector(toy, options=Options(max_faces=9_000)).detect(crowd)) == 9_000


def test_boxes_are_cut_at_the_border_unless_told_otherwise(detector: Detector) -> None:
    image = draw((0, 0, 255, 10))
    assert detector.detect(image).boxes.tolist() == [[0, 0, 14, 14]]
    assert detector.detect(image, Options(clip=False)).boxes.tolist() == [[-6, -6, 14, 14]]


def test_boxes_wholly_outside_are_dropped(detector: Detector) -> None:
    # The center of the second cell lies 3 px beyond the border of an image of 9 px.
    image = draw((1, 0, 255, 2), width=9, height=8)
    assert len(detector.detect(image)) == 0
    assert len(detector.detect(image, Options(clip=False))) == 1


def test_scales_map_back_to_the_image(detector: Detector) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[32:48, 48:64, :2] = 255, 4
    # At half the size the block is one cell with its center at (28, 20).
    half = detector.detect(image, Options(scales=(0.5,)))
    assert half.boxes.tolist() == [[48, 32, 64, 48]]
    assert (half.width, half.height) == (96, 64)
    # At full size it is four, inside of that box; their IoU with it is 0.25.
    whole = detector.detect(image)
    assert len(whole) == 4
    both = detector.detect(image, Options(scales=(1.0, 0.5)))
    assert len(both) == 5
    assert len(detector.detect(image, Options(scales=(1.0, 0.5), nms_iou=0.2))) == 4


def test_longest_fits_the_longer_side_before_the_scales(detector: Detector) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[32:48, 48:64, :2] = 255, 4
    half = detector.detect(image, Options(scales=(0.5,)))
    assert detector.detect(image, Options(longest=48)) == half
    assert detector.detect(image, Options(longest=24, scales=(2.0,))) == half
    assert detector.detect(image, Options(longest=96)) == detector.detect(image)


def test_no_side_vanishes(detector: Detector) -> None:
    line = np.full((1, 400, 3), 255, np.uint8)
    for options in (Options(longest=10), Options(scales=(0.01,))):
        faces = detector.detect(line, options)
        assert (faces.width, faces.height) == (400, 1)
    assert len(detector.detect(line[:, :1], Options(scales=(0.01,)))) == 1


def test_the_mirrored_pass_finds_the_same_places(detector: Detector) -> None:
    image = draw((1, 1, 153, 4), (5, 3, 255, 3))
    assert detector.detect(image, Options(flip=True)) == detector.detect(image)
    # Off the grid of cells the mirrored image has other boxes, which join those of the first.
    image = draw((1, 1, 153, 4), (5, 3, 255, 3), width=66)
    joined = detector.detect(image, Options(flip=True, nms_iou=1, clip=False))
    upright = detector.detect(image, Options(nms_iou=1, clip=False))
    flipped = detector.detect(image[:, ::-1], Options(nms_iou=1, clip=False))
    mirrored = flipped.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [66, 0, 66, 0]
    expected = np.vstack([upright.boxes, mirrored])
    assert sorted(joined.boxes.tolist()) == sorted(expected.tolist())


@settings(max_examples=60)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(0, 99),
    st.builds(
        Options,
        threshold=st.floats(0, 0.99),
        nms_iou=st.floats(0.01, 1),
        top_k=st.integers(1, 50),
        max_faces=st.integers(1, 50),
        min_face=st.floats(0, 30),
        max_face=st.none() | st.floats(30, 60),
        longest=st.none() | st.integers(1, 100),
        scales=st.lists(st.floats(0.1, 2), min_size=1, max_size=3).map(tuple),
        flip=st.booleans(),
    ),
)
def test_results_keep_every_promise(
    detector: Detector, width: int, height: int, seed: int, options: Options
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    noise[:, :, 1] //= 8
    faces = detector.detect(noise, options)
    assert (faces.width, faces.height) == (width, height)
    assert options.max_faces is None or len(faces) <= options.max_faces
    assert (faces.scores > detector.threshold(options)).all()
    assert (np.diff(faces.scores) <= 0).all()
    assert (faces.boxes >= 0).all()
    assert (faces.boxes <= [width, height, width, height]).all()
    sizes = longer_side(faces.boxes)
    assert (sizes >= options.min_face).all()
    assert options.max_face is None or (sizes <= options.max_face).all()
    unclipped = detector.detect(noise, Options(threshold=options.threshold, clip=False))
    overlaps = iou(unclipped.boxes, unclipped.boxes) - np.eye(len(unclipped))
    assert (overlaps <= 0.3 + 1e-6).all()


def test_a_call_may_replace_the_options_of_the_detector(detector: Detector) -> None:
    strict = Detector(detector.network.path, options=Options(threshold=0.7))
    image = draw((1, 1, 153, 4))
    assert len(strict.detect(image)) == 0
    assert len(strict.detect(image, Options())) == 1
    assert [len(faces) for faces in strict.detect_many([image], Options())] == [1]


def test_options_of_another_type_are_refused(detector: Detector) -> None:
    with pytest.raises(ValueError, match=r"options are 0.7; give extd.Options"):
        detector.detect(draw((1, 1, 153, 4)), 0.7)
    with pytest.raises(ValueError, match=r"options are \{'threshold': 0.5\}; give extd.Options"):
        Detector(detector.network.path, options={"threshold": 0.5})


def test_a_file_that_cannot_be_read_is_named(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        detector.detect(path)


def test_many_images_give_one_result_each_in_order(detector: Detector, tmp_path: Path) -> None:
    images = [draw((column, 1, 255, 3), width=64 + 9 * column, height=40) for column in range(6)]
    cv2.imwrite(str(tmp_path / "last.png"), images[0][:, :, ::-1])
    sources: list[Any] = [*images, tmp_path / "last.png"]
    results = list(detector.detect_many(sources))
    assert results == [detector.detect(source) for source in sources]
    assert results[-1] == results[0]
    assert list(detector.detect_many([])) == []


def test_few_of_many_images_are_read_ahead(detector: Detector) -> None:
    taken = 0

    def endless() -> Iterator[Pixels]:
        nonlocal taken
        while True:
            taken += 1
            yield draw()

    results = detector.detect_many(endless())
    assert taken == 0
    for done in range(1, 4):
        next(results)
        assert taken == done + max(detector.workers, 2)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("extd")]


def test_many_images_are_looked_at_side_by_side_within_the_memory_of_one(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = Detector(detector.network.path, threads=2)
    assert (two.workers, two.single_threaded.workers) == (2, 1)
    assert two.for_batch(draw()) is two.single_threaded
    assert two.single_threaded.for_batch(draw()) is two.single_threaded
    monkeypatch.setattr("extd.detector.LARGE", 2 * 64 * 48)
    fitting, larger = draw((1, 1, 255, 3)), draw((1, 1, 255, 3), width=65)
    assert two.for_batch(fitting) is two.single_threaded
    assert two.for_batch(larger) is two
    assert list(two.detect_many([fitting, larger])) == [two.detect(fitting), two.detect(larger)]


def test_a_bad_image_ends_many_after_the_results_before_it(
    detector: Detector, tmp_path: Path
) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"broken")
    results = detector.detect_many([draw(), draw(), path, draw()])
    assert len(next(results)) == 0
    assert len(next(results)) == 0
    with pytest.raises(ValueError, match=r"image 2: .*broken\.jpg"):
        next(results)
    with pytest.raises(OSError, match=r"image 0: .*too long"):
        list(detector.detect_many(["x" * 300]))
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg"):
        list(detector.detect_many([tmp_path / "absent.jpg"]))


def test_one_path_is_not_taken_for_many(detector: Detector) -> None:
    with pytest.raises(ValueError, match=r"'photo\.jpg' is one image"):
        list(detector.detect_many("photo.jpg"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threshold": -0.1}, r"threshold is -0\.1; give 0 to below 1"),
        ({"threshold": 1.0}, r"threshold is 1\.0"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"nms_iou": 0.0}, r"nms_iou is 0\.0"),
        ({"nms_iou": 1.1}, r"nms_iou is 1\.1"),
        ({"top_k": 0}, "top_k is 0"),
        ({"max_faces": 0}, "max_faces is 0"),
        ({"min_face": -1.0}, r"min_face is -1\.0"),
        ({"min_face": 9.0, "max_face": 8.0}, r"max_face is 8\.0; give min_face or more"),
        ({"longest": 0}, "longest is 0"),
        ({"threshold": "high"}, "threshold is 'high'; give 0 to below 1"),
        ({"longest": "640"}, "longest is '640'; give 1 or more"),
        ({"scales": ("1",)}, "scales is '1'; give 'auto' or factors"),
        ({"scales": ()}, r"scales is \(\); give 'auto' or factors"),
        ({"rotations": (0, 45)}, r"rotations is 45; give 0, 90, 180 or 270"),
        ({"rotations": ()}, r"rotations is \(\); give 0, 90"),
        ({"rotations": "90"}, r"rotations is '9'; give 0, 90"),
        ({"scales": None}, "scales is None; give 'auto' or factors"),
        ({"longest": float("inf")}, "longest is inf; give 1 or more pixels"),
        ({"tile": 255}, "tile is 255; give 0 or 256 or more"),
        ({"tile": 300.5}, r"tile is 300\.5; give 0 or 256 or more pixels, a whole"),
        ({"tile": float("inf")}, "tile is inf; give 0 or 256 or more pixels, a whole"),
        ({"top_k": 2.5}, r"top_k is 2\.5; give a whole number"),
        ({"max_faces": 1.5}, r"max_faces is 1\.5; give a whole number"),
        ({"tile": "300"}, "tile is '300'; give 0"),
        ({"overlap": 0}, "overlap is 0; give above 0, up to 0.5"),
        ({"overlap": 0.51}, r"overlap is 0\.51"),
        ({"scales": (1.0, 0.0)}, r"scales is 0\.0; give 'auto' or factors above 0"),
        ({"scales": (float("inf"),)}, "scales is inf"),
    ],
)
def test_a_wrong_option_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**wrong)


def test_scales_may_be_given_as_a_list() -> None:
    assert Options(scales=2).scales == (2,)
    options = Options(scales=[1, 2])
    assert options == Options(scales=(1, 2))
    assert hash(options) == hash(Options(scales=(1, 2)))


def test_a_detector_shows_its_model_provider_and_threads(detector: Detector) -> None:
    assert repr(detector) == "Detector('toy', CPUExecutionProvider, threads=1)"


def test_the_weights_stay_those_that_were_loaded(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(Path(toy).read_bytes())
    detector, image = Detector("model.onnx", threads=2), draw((1, 1, 255, 4))
    Path("model.onnx").write_bytes(b"another")
    assert list(detector.detect_many([image] * 3)) == [detector.detect(image)] * 3


def test_a_detector_goes_to_other_processes(toy: str) -> None:
    detector = Detector(toy, options=Options(threshold=0.2), threads=2)
    image = draw((1, 1, 102, 4), (5, 3, 255, 3))
    faces = detector.detect(image)
    assert len(faces) == 2
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(detector.detect, [image]) == [faces]
    assert repr(copy.deepcopy(detector)) == repr(detector)


def test_an_error_of_reading_keeps_its_message(detector: Detector) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the network is down")

    with pytest.raises(OSError, match=r"image 0: .*the network is down"):
        list(detector.detect_many([Broken(b"x")]))


@pytest.mark.parametrize(
    ("options", "factor"),
    [
        (Options(), 1),
        (Options(min_face=39), 1),
        (Options(min_face=40), 2),
        (Options(min_face=80), 4),
        (Options(min_face=1000), 8),
        (Options(longest=640), 4),
        (Options(longest=3000, min_face=1000), 8),
        (Options(scales=(0.1, 0.3)), 2),
        (Options(scales=(0.1,)), 8),
        (Options(scales=(2,)), 1),
    ],
)
def test_what_no_pass_looks_at_is_not_decoded(options: Options, factor: int) -> None:
    assert reduction(options, (4000, 3000)) == factor


@pytest.mark.parametrize(
    "options",
    [
        Options(min_face=50, max_face=300),
        Options(scales=(0.25,), min_face=60),
        Options(longest=640, scales=(0.5, 1), max_face=200),
    ],
)
def test_reduced_jpegs_have_the_faces_of_whole_ones(
    options: Options, examples: Path, tmp_path: Path
) -> None:
    path, detector = tmp_path / "a.jpg", Detector(threads=1)
    pixels = resize(read_image(examples / "solvay_1927.jpg"), (2561, 1902))
    Image.fromarray(pixels).save(path, quality=95)
    assert reduction(options, (2561, 1902)) > 1
    reduced, whole = detector.detect(path, options), detector.detect(read_image(path), options)
    assert (reduced.width, reduced.height) == (2561, 1902)
    assert len(whole) > 2
    overlaps, sides = iou(whole.boxes, reduced.boxes), longer_side(whole.boxes)
    low, high = options.min_face, options.max_face or math.inf
    clear = (
        (whole.scores > detector.threshold(options) + 0.1) & (sides > low + 5) & (sides < high - 5)
    )
    assert overlaps.max(axis=1)[clear].min() > 0.8
    assert abs(len(reduced) - len(whole)) <= 3
    assert all(low <= side <= high for side in longer_side(reduced.boxes))


def test_angles_may_be_any_numbers(detector: Detector) -> None:
    image = draw((1, 1, 102, 4))
    turned = detector.detect(image, Options(rotations=np.array([0.0, 90.0])))
    assert turned == detector.detect(image, Options(rotations=(0, 90)))


def test_keywords_go_before_the_options(toy: str) -> None:
    options = Options(threshold=0.3, max_faces=9, flip=True)
    found = Detector(toy, options=options, threshold=0.7, min_face=8).options
    assert found == Options(threshold=0.7, min_face=8, max_faces=9, flip=True)
    assert Detector(toy, max_faces=2).options == Options(max_faces=2)
    with pytest.raises(ValueError, match=r"threshold is 2"):
        Detector(toy, threshold=2)


def test_a_list_gives_a_list(detector: Detector) -> None:
    images = [draw((1, 1, 102, 4)), draw(), draw((1, 1, 204, 4), width=70)]
    expected = [detector.detect(image) for image in images]
    for several in (images, tuple(images)):
        assert detector.detect(several) == expected
    assert detector.detect([]) == []
    sure = detector.detect(images, Options(threshold=0.7))
    assert [len(faces) for faces in sure] == [0, 0, 1]
    with pytest.raises(ValueError, match=r"image 1: 7 is not an image"):
        detector.detect([images[0], 7])


def test_one_call_detects(toy: str) -> None:
    image = draw((1, 1, 102, 4), (3, 1, 255, 4), (5, 1, 204, 2))
    assert extd.detect(image, 0.3, model=toy) == Detector(toy, threshold=0.3).detect(image)
    assert [len(faces) for faces in extd.detect([image, draw()], threshold=0.9, model=toy)] == [
        1,
        0,
    ]


def test_a_fork_loads_its_own_network(toy: str) -> None:
    image = draw((1, 1, 255, 4))
    expected = extd.detect(image, model=toy)
    with warnings.catch_warnings():
        # Newer versions of Python warn of forks beside threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply(partial(extd.detect, model=toy), (image,)) == expected
