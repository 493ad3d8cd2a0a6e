from __future__ import annotations

import json

import numpy as np
import web_vectors


def test_the_vectors_of_the_page_are_what_the_package_computes() -> None:
    stored = json.loads((web_vectors.VECTORS / "detection.json").read_text())
    current = web_vectors.detection()
    # After a change of the weights: python tools/web_vectors.py
    assert stored["images"] == current["images"]
    assert stored["anchors"] == current["anchors"]
    for old, new in zip(stored["cases"], current["cases"], strict=True):
        assert old["name"] == new["name"]
        np.testing.assert_allclose(old["boxes"], new["boxes"], atol=0.05)
        np.testing.assert_allclose(old["scores"], new["scores"], atol=5e-4)


def test_the_vectors_of_resizing_are_what_the_package_computes() -> None:
    stored = json.loads((web_vectors.VECTORS / "resizing.json").read_text())
    assert stored == web_vectors.resizing()
