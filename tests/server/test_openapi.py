"""The OpenAPI description says what the server does, and `/docs` what the description says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.server.conftest import Server, serving

TOKEN = "a-token"
PATHS = ["/v1/detect", "/v1/blur", "/v1/crop"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that wants a token."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(f"{TOKEN}\n")
    options = ["--token-file", str(folder / "token"), "--cors", "https://page.example"]
    with serving(folder / "log", *options) as server:
        yield server
        assert server.stop() == 0
        assert (folder / "log").read_text() == ""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("mode", GenerationMode)
def test_requests_of_any_kind_get_what_is_described(
    path: str, mode: GenerationMode, guarded: Server
) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{guarded.port}/openapi.json")

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(case=schema[path]["POST"].as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        # No random bytes are an image.
        case.call_and_validate(
            headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=[positive_data_acceptance]
        )

    check()
