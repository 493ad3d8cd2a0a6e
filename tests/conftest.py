from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

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


@pytest.fixture(scope="session")
def examples() -> Path:
    """The pictures that come with the repository."""
    return ROOT / "examples"
