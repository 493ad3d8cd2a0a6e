from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from extd.training.recipe import (
    Augmentation,
    Compute,
    Data,
    DataSet,
    Optimizer,
    Recipe,
)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Six noisy images of 160 x 120 px, each with two bright squares for faces."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(6):
        image = rng.integers(0, 80, (120, 160, 3), np.uint8)
        boxes = [[10 + 5 * i, 20, 34 + 5 * i, 44], [100, 60, 130, 90]]
        for x1, y1, x2, y2 in boxes:
            image[y1:y2, x1:x2] = 220
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
        entry = {"image": f"{i}.png", "width": 160, "height": 120, "boxes": boxes, "ignore": []}
        lines.append(json.dumps({**entry, "source": "even" if i % 2 == 0 else "odd"}))
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def recipe(labels: Path) -> Recipe:
    """A run of a few seconds."""
    return Recipe(
        model="extd-lite-nano",
        data=Data(sets=(DataSet(path=str(labels)),)),
        iterations=6,
        batch=4,
        ema=0.9,
        compute=Compute(precision="fp32"),
        save_every=3,
        augmentation=Augmentation(crop_sizes=(128,)),
        optimizer=Optimizer(name="adamw", lr=1e-3, schedule="cosine", warmup=2, grad_clip=10.0),
    )


@pytest.fixture
def change() -> Callable[..., Recipe]:
    """`change(recipe, ema=0.5, loss={"regression": "eiou"})`: other keys, the others as before."""

    def changed(recipe: Recipe, **changes: Any) -> Recipe:
        content = recipe.model_dump()
        for key, value in changes.items():
            content[key] = content[key] | value if isinstance(value, dict) else value
        return Recipe.model_validate(content)

    return changed
