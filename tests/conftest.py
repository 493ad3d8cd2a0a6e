from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from scipy.io import savemat

ROOT = Path(__file__).resolve().parents[1]

# A face in each cell of 8 x 8 px: its score is red / 255, and green is half its side in px.
TOY = """
<ir_version: 8, opset_import: ["": 18]>
toy (float[N,3,H,W] images) => (float[N,A,4] boxes, float[N,A] scores)
<
    int64 rows = {2}, int64 columns = {3}, int64[3] flat_boxes = {0, 4, -1},
    int64[2] flat_scores = {0, -1}, float zero = {0}, float one = {1}, float half = {0.5},
    float cell = {8}, float full = {255}
>
{
    cells = MaxPool<kernel_shape = [8, 8], strides = [8, 8], ceil_mode = 1>(images)
    red, green, blue = Split<axis = 1, num_outputs = 3>(cells)
    zeros = Mul(red, zero)
    ones = Add(zeros, one)
    column = CumSum(ones, columns)
    column_center = Sub(column, half)
    x = Mul(column_center, cell)
    row = CumSum(ones, rows)
    row_center = Sub(row, half)
    y = Mul(row_center, cell)
    x1 = Sub(x, green)
    y1 = Sub(y, green)
    x2 = Add(x, green)
    y2 = Add(y, green)
    stacked = Concat<axis = 1>(x1, y1, x2, y2)
    flat = Reshape(stacked, flat_boxes)
    boxes = Transpose<perm = [0, 2, 1]>(flat)
    levels = Reshape(red, flat_scores)
    scores = Div(levels, full)
}
"""

# A slow machine is no failure: no test is timed.
settings.register_profile("extd", deadline=None)
settings.load_profile("extd")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of data and reference outputs: $EXTD_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("EXTD_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set EXTD_SHARED to the folder that holds it")
    return folder


WriteTruth = Callable[..., Path]


@pytest.fixture(scope="session")
def write_truth() -> WriteTruth:
    """Writes WIDER FACE's four .mat files of images of 0--Parade, whose faces all count."""

    def cells(*values: object) -> NDArray[np.object_]:
        column = np.empty((len(values), 1), object)
        column[:, 0] = values
        return column

    def write(
        folder: Path,
        faces: Mapping[str, NDArray[np.float64]],
        attributes: Mapping[str, Sequence[NDArray[np.float64]]] = MappingProxyType({}),
    ) -> Path:
        folder.mkdir(exist_ok=True)
        names = {"event_list": cells("0--Parade"), "file_list": cells(cells(*faces))}
        lists = {**names, "face_bbx_list": cells(cells(*faces.values()))}
        lists |= {f"{name}_label_list": cells(cells(*of)) for name, of in attributes.items()}
        savemat(folder / "wider_face_val.mat", lists)
        counting = [np.arange(1.0, len(boxes) + 1)[:, None] for boxes in faces.values()]
        for name in ("easy", "medium", "hard"):
            mat = {**names, "gt_list": cells(cells(*counting))}
            savemat(folder / f"wider_{name}_val.mat", mat)
        return folder

    return write


@pytest.fixture(scope="session")
def examples() -> Path:
    """The images that come with the repository."""
    return ROOT / "examples"


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of an ONNX detector of red cells, for `--model`."""
    path = tmp_path_factory.mktemp("toy") / "toy.onnx"
    onnx.save(onnx.parser.parse_model(TOY), path)
    return str(path)
