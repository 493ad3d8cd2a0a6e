from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from extd.catalog import load_catalog
from extd.faces import Faces
from extd.runtime import OnnxModel

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


@pytest.mark.parametrize("providers", [["NoSuchProvider"], [CPU, "NoSuchProvider"], []])
def test_a_provider_that_is_not_installed_is_refused(echo: Path, providers: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"{providers[-1:]} .*{CPU}".replace("[", r"\[")):
        OnnxModel(echo, providers=providers)


def test_a_provider_that_falls_back_is_refused(echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stands for a GPU build on a machine without a GPU, where ONNX Runtime goes on with the CPU.
    available = ["CUDAExecutionProvider", *onnxruntime.get_available_providers()]
    start = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: start(path, options, providers=[CPU]),
    )
    with pytest.raises(ValueError, match=rf"'CUDAExecutionProvider' does not start.*{CPU}"):
        OnnxModel(echo, providers=["CUDAExecutionProvider"])


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
