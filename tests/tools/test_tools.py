from __future__ import annotations

import json

import catalog
import pytest

from extd.catalog import CATALOG


@pytest.mark.slow
def test_the_catalog_is_what_the_tool_writes() -> None:
    records = json.loads(CATALOG.read_text(encoding="utf-8"))
    counted = catalog.counted({record["name"]: record for record in records})
    assert list(counted.values()) == records
