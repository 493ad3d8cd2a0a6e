from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from extd.catalog import Precision, load_catalog
from extd.faces import Faces
from extd.images import read_image
from extd.passes import suppress
from extd.runtime import OnnxModel, padded_side

CPU = "CPUExecutionProvider"

# Gives the pixels back: as a box red, green, blue, red; as a score red / 255.
ECHO = """
<ir_version: 8, opset_import: ["": 18]>
echo (float[N,3,H,W] images) => (float[N,A,4] boxes, float[N,A] scores)
<int64[3] rows = {0, 4, -1}, int64[2] row = {0, -1}, float full = {255}>
{
    red, green, blue = Split<axis = 1, num_outputs = 3>(images)
    stacked = Concat<axis = 1>(images, red)
    columns = Reshape(stacked, rows)
    boxes = Transpose<perm = [0, 2, 1]>(columns)
    level = Reshape(red, row)
    scores = Div(level, full)
}
"""


def save(path: Path, text: str, **metadata: str) -> Path:
    model = onnx.parser.parse_model(text)
    for key, value in metadata.items():
        model.metadata_props.add(key=f"extd.{key}", value=value)
    onnx.save(model, path)
    return path


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    return save(tmp_path / "echo.onnx", ECHO, model="extd-echo", license="MIT")


def test_the_network_gets_rgb_planes_of_0_to_255(echo: Path) -> None:
    rng = np.random.default_rng(0)
    network = OnnxModel(echo, threads=1)
    for size in ((1, 5, 7), (3, 2, 4), (1, 1, 1)):
        images = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        for image, faces in zip(images, network.run(images, 0.5), strict=True):
            red, green, blue = image.reshape(-1, 3).T
            # Boxes that are inside out are left out.
            good = (red > 127) & (blue >= red) & (red >= green)
            boxes = np.stack([red, green, blue, red], 1)[good]
            assert faces == Faces(boxes, red[good] / np.float32(255), *size[:0:-1])


def test_views_need_no_copy_by_the_caller(echo: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 6, 8, 3), dtype=np.uint8)
    network = OnnxModel(echo)
    mirrored = images[:, :, ::-1]
    (found,), (again,) = network.run(mirrored), network.run(mirrored.copy())
    assert np.array_equal(found.boxes, again.boxes)


def test_a_network_says_what_it_is_and_where_it_runs(echo: Path) -> None:
    network = OnnxModel(str(echo), threads=2)
    assert network.metadata == {"model": "extd-echo", "license": "MIT"}
    assert (network.name, network.provider, network.threads) == ("extd-echo", CPU, 2)
    assert repr(network) == f"OnnxModel('extd-echo', provider='{CPU}', threads=2)"


def test_a_network_without_metadata_has_the_name_of_its_file(tmp_path: Path) -> None:
    assert OnnxModel(save(tmp_path / "mine.onnx", ECHO)).name == "mine"


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((1, 3, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((0, 4, 4, 3), np.uint8),
    ],
)
def test_other_shapes_and_types_are_named(echo: Path, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=rf"{images.dtype} \({images.shape[0]}, "):
        OnnxModel(echo).run(images)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("run/best.safetensors", r"run: extd export run/best\.safetensors model\.onnx"),
        ("EXTD_64.pth", r"extd convert EXTD_64\.pth .*extd export model\.safetensors model\.onnx"),
        ("folder/extd-fpn-32-prelu", "neither a model's name nor an .onnx file"),
        ("model.tflite", "neither a model's name nor an .onnx file"),
    ],
)
def test_other_files_say_what_to_do(model: str, message: str) -> None:
    for given in (model, Path(model)):
        with pytest.raises(ValueError, match=message):
            OnnxModel(given)


def test_a_missing_file_and_a_typo_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx"):
        OnnxModel(tmp_path / "absent.onnx")
    with pytest.raises(ValueError, match="did you mean 'extd-fpn-32-prelu'"):
        OnnxModel("extd-fpn-32-prleu")


def test_a_broken_file_is_named(echo: Path) -> None:
    echo.write_bytes(echo.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cannot load .*echo\.onnx"):
        OnnxModel(echo)


def test_a_graph_that_is_no_detector_names_its_inputs(tmp_path: Path) -> None:
    path = save(tmp_path / "other.onnx", ECHO.replace("images", "pixels"))
    with pytest.raises(ValueError, match=r"inputs \['pixels'\]"):
        OnnxModel(path)
    path = save(tmp_path / "other.onnx", ECHO.replace("scores", "probabilities"))
    with pytest.raises(ValueError, match=r"outputs \['boxes', 'probabilities'\]"):
        OnnxModel(path)


def test_one_provider_may_be_given_by_itself(echo: Path) -> None:
    assert OnnxModel(echo, providers=CPU).provider == CPU


@pytest.mark.parametrize("providers", ["cpu", "CPU", ["cpu"], CPU, "auto"])
def test_a_provider_has_a_short_name(echo: Path, providers: str | list[str]) -> None:
    assert OnnxModel(echo, providers=providers).provider == CPU


@pytest.mark.parametrize("providers", [["NoSuchProvider"], ["cpu", "tensorrt"], []])
def test_a_provider_that_is_not_installed_is_refused(echo: Path, providers: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"{providers[-1:]} .*auto, .*cpu".replace("[", r"\[")):
        OnnxModel(echo, providers=providers)


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands for a GPU build on a machine without a GPU, where ONNX Runtime goes on with the CPU.

    Gives the providers that are asked for, in order.
    """
    available = ["CUDAExecutionProvider", "DmlExecutionProvider", CPU]
    start, asked = onnxruntime.InferenceSession, []

    def session(content: bytes, options: object, providers: list[str]) -> object:
        asked.append(providers)
        if providers == ["DmlExecutionProvider"]:
            raise RuntimeError("no device")
        return start(content, options, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return asked


@pytest.mark.parametrize("name", ["cuda", "CUDAExecutionProvider"])
def test_a_provider_that_falls_back_is_refused(
    echo: Path, gpu_build: list[list[str]], name: str
) -> None:
    with pytest.raises(ValueError, match=r"'cuda' does not start.* use 'cpu'"):
        OnnxModel(echo, providers=name)
    assert gpu_build == [["CUDAExecutionProvider"]]
    with pytest.raises(ValueError, match="no device"):
        OnnxModel(echo, providers="directml")


def test_auto_takes_the_first_provider_that_starts(echo: Path, gpu_build: list[list[str]]) -> None:
    network = OnnxModel(echo, providers="auto")
    assert gpu_build == [["CUDAExecutionProvider"], ["DmlExecutionProvider"], [CPU]]
    assert (network.provider, network.padded) == (CPU, False)


def test_padded_sides_are_few_and_near() -> None:
    sides = np.arange(1, 4097)
    padded = np.array([padded_side(int(side)) for side in sides])
    assert (padded >= sides).all()
    assert (padded <= np.maximum(1.25 * sides + 1, sides + 63)).all()
    assert len(set(padded.tolist())) == 20
    assert [padded_side(side) for side in (1, 65, 256, 257, 480, 640, 641)] == [
        *(64, 128, 256, 320, 512, 640, 768)
    ]


@pytest.mark.parametrize("precision", ["int8", "float"])
def test_padding_moves_no_face_by_half_a_pixel(
    examples: Path, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extd.runtime.has_int8", lambda: True)
    network = OnnxModel("extd-lite", threads=1, precision=precision)
    for name, height, width in (("astronaut.jpg", 397, 389), ("solvay_1927.jpg", 651, 1025)):
        image = read_image(examples / name)[:height, :width]
        found = {}
        for network.padded in (False, True):
            (likely,) = network.run(image[None], 0.25)
            assert (likely.width, likely.height) == (width, height)
            found[network.padded] = suppress(likely, 0.5, 0.3, box_voting=network.box_voting)
        # Where the border cuts a face, the network learns it from the zeros beyond.
        inside = (found[False].boxes[:, 2:] < (width - 1, height - 1)).all(1)
        plain = found[False][inside]
        assert len(plain) > 0
        for box, score in zip(plain.boxes, plain.scores, strict=True):
            moved = np.abs(found[True].boxes - box).max(1)
            assert moved.min() < 0.5
            assert abs(found[True].scores[moved.argmin()] - score) < 0.05


def test_padding_adds_no_face(tmp_path: Path) -> None:
    mean = save(tmp_path / "echo.onnx", ECHO, mean="[255, 255, 255]")
    network = OnnxModel(mean, threads=1)
    network.padded = True
    # Each white pixel is a face of no area, at 255, 255.
    (faces,) = network.run(np.zeros((1, 100, 256, 3), np.uint8), 0.5)
    assert (len(faces), faces.width, faces.height) == (0, 256, 100)
    (faces,) = network.run(np.zeros((1, 256, 250, 3), np.uint8), -1)
    assert set(map(tuple, faces.boxes.tolist())) == {(0, 0, 0, 0)}


def test_threads_out_of_range_are_refused(echo: Path) -> None:
    with pytest.raises(ValueError, match="threads is 3000000000; give 0 for one a core"):
        OnnxModel(echo, threads=3_000_000_000)
    with pytest.raises(ValueError, match="threads is -1"):
        OnnxModel(echo, threads=-1)


def test_int8_on_a_processor_without_it_warns_unless_it_is_a_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("extd.runtime.has_int8", lambda: False)
    with pytest.warns(UserWarning, match="int8 is slow; precision 'auto'"):
        assert OnnxModel("extd-lite", precision="int8").precision == "int8"
    assert OnnxModel("extd-lite").precision == "float"
    monkeypatch.setattr("extd.runtime.has_int8", lambda: True)
    assert OnnxModel("extd-lite", precision="int8").precision == "int8"
    assert OnnxModel("extd-lite").precision == "int8"


def test_every_shipped_model_runs_at_any_size() -> None:
    shipped = [model for model in load_catalog() if model.weights is not None]
    assert shipped
    for model in shipped:
        network = OnnxModel(model.name.upper(), threads=1)
        assert network.name == model.name
        for height, width in ((1, 1), (37, 150), (64, 64)):
            both = network.run(np.zeros((2, height, width, 3), np.uint8))
            assert len(both) == 2
            assert all((faces.width, faces.height) == (width, height) for faces in both)
            assert all((faces.scores > 0).all() for faces in both)
