from __future__ import annotations

import io
from pathlib import Path

import pytest

from extd.cli.inference import read_list


def test_a_list_takes_the_place_of_a_dash() -> None:
    stream = io.StringIO("b c.jpg\n\n-\r\nd.jpg")
    assert read_list(["a.jpg", "-", "e.jpg", "-"], stream) == [
        "a.jpg",
        "b c.jpg",
        "-",
        "d.jpg",
        "e.jpg",
    ]
    assert read_list(["a.jpg"], io.StringIO()) == ["a.jpg"]


def test_names_that_end_with_nul_may_hold_line_breaks() -> None:
    stream = io.TextIOWrapper(io.BytesIO(b"a\nb.jpg\0\xe9.jpg\0\0-"))
    assert read_list(["x", "-"], stream, nul=True) == ["x", "a\nb.jpg", "\udce9.jpg", "-"]
    with pytest.raises(ValueError, match=r"names that end with NUL need --from0"):
        read_list(["-"], io.StringIO("a.jpg\0b.jpg\0"))
    with pytest.raises(ValueError, match=r"give - for them"):
        read_list(["a.jpg"], io.StringIO(), nul=True)


def test_endless_input_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extd.cli.inference.MAX_STREAM", 9)
    with Path("/dev/zero").open("r") as stream, pytest.raises(ValueError, match="more than 1 GiB"):
        read_list(["-"], stream)
