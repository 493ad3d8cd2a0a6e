from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.training.metrics import read_columns
from extd.training.recipe import (
    Augmentation,
    Compute,
    Data,
    DataSet,
    Loss,
    Optimizer,
    Recipe,
    Validation,
)
from extd.training.trainer import train

SIDE = 128


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    """Eight noisy images with one to three drawn faces each."""
    rng = np.random.default_rng(1)
    lines = []
    for i in range(8):
        image = rng.integers(60, 120, (SIDE, SIDE, 3), np.uint8)
        boxes = []
        for corner in [(4, 4), (70, 10), (24, 72)][: 1 + i % 3]:
            size = int(rng.integers(20, 52))
            x, y = corner
            center = (x + size // 2, y + size // 2)
            cv2.ellipse(image, center, (size // 2, size // 2), 0, 0, 360, (150, 190, 230), -1)
            for eye in (-1, 1):
                place = (center[0] + eye * size // 5, center[1] - size // 6)
                cv2.circle(image, place, max(size // 10, 1), (30, 20, 20), -1)
            boxes.append([x, y, x + size, y + size])
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
        lines.append(
            json.dumps({"image": f"{i}.png", "width": SIDE, "height": SIDE, "boxes": boxes})
        )
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_eight_images_are_learned_by_heart(eight: Path, tmp_path: Path) -> None:
    """Crops, targets, loss, optimizer, averages, export and metric agree, or AP is not 1."""
    steps = 150
    recipe = Recipe(
        model="extd-fpn-32-prelu",
        data=Data(sets=(DataSet(path=str(eight)),)),
        iterations=steps,
        batch=8,
        ema=0.9,
        freeze_bn_at=60,
        augmentation=Augmentation(
            crop_sizes=(SIDE,),
            anchor_sampling_prob=0.0,
            full_side_prob=1.0,
            color=False,
            horizontal_flip_prob=0.0,
        ),
        loss=Loss(normalizer="released", box_weight=1.0),
        optimizer=Optimizer(name="adamw", lr=5e-3, schedule="cosine", warmup=10, grad_clip=10.0),
        validation=Validation(path=str(eight), every=steps),
        compute=Compute(precision="fp32"),
        save_every=steps,
    )
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    assert read_columns(tmp_path / "run" / "validation.csv")["all"] == [1.0]
