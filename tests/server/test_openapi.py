"""The OpenAPI description says what the server does, and `/docs` what the description says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

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
    # Else `longest` can ask for more than is done in time.
    options += ["--max-pixels", "300000", "--timeout", "120"]
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
    def check(case: Case[Any]) -> None:
        # No random bytes are an image.
        case.call_and_validate(
            headers={"Authorization": f"Bearer {TOKEN}"},
            excluded_checks=[positive_data_acceptance],
            # By default it gives up after 10 s.
            timeout=120,
        )

    check()


@pytest.mark.parametrize("path", [*PATHS, "/metrics"])
@pytest.mark.parametrize(
    "sent", [None, "Bearer a-tokem", f"Basic {TOKEN}", "Bearer \xfc", "Bearer "]
)
def test_without_the_token_nothing_is_done(path: str, sent: str | None, guarded: Server) -> None:
    method = "GET" if path == "/metrics" else "POST"
    headers = {} if sent is None else {"Authorization": sent}
    reply = guarded.request(method, path, b"x", headers)
    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert json.loads(reply.body)["detail"].startswith("the token is missing or wrong")


def test_with_the_token_requests_are_answered(guarded: Server, photo: bytes) -> None:
    assert guarded.post("/v1/detect", photo, Authorization=f"Bearer {TOKEN}").status == 200
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert guarded.request("GET", path).status == 200


def test_only_pages_that_are_named_may_read_answers(guarded: Server, server: Server) -> None:
    for origin, allowed in (("https://page.example", True), ("https://evil.example", False)):
        reply = guarded.request("GET", "/healthz", headers={"Origin": origin})
        assert ("access-control-allow-origin" in reply.headers) == allowed
    reply = server.request("GET", "/healthz", headers={"Origin": "https://page.example"})
    assert "access-control-allow-origin" not in reply.headers


def test_a_page_that_is_named_may_post(guarded: Server) -> None:
    asked = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    reply = guarded.request("OPTIONS", "/v1/blur", headers=asked)
    assert (reply.status, reply.body) == (200, b"OK")
    assert "POST" in reply.headers["access-control-allow-methods"]
    reply = guarded.request("POST", "/v1/blur", b"x", {"Origin": "https://page.example"})
    assert reply.status == 401
    assert reply.headers["access-control-allow-origin"] == "https://page.example"
    assert reply.headers["access-control-expose-headers"] == "Retry-After"


def test_the_documentation_names_every_option_and_loads_nothing(server: Server) -> None:
    page = server.request("GET", "/docs").body.decode()
    description = json.loads(server.request("GET", "/openapi.json").body)
    for path in PATHS:
        assert f"POST {path}" in page
        for parameter in description["paths"][path]["post"]["parameters"]:
            assert f"<code>{parameter['name']}</code>" in page
            assert parameter["description"]
    assert "`" not in page
    assert "src=" not in page
    assert "http" not in page.replace("&quot;", "")


def test_every_request_is_counted_under_a_known_name(server: Server, photo: bytes) -> None:
    def counted(endpoint: str, status: int) -> float:
        return server.metric(f'extd_requests_total{{endpoint="{endpoint}",status="{status}"}}')

    described = counted("/openapi.json", 200)
    server.request("GET", "/openapi.json")
    assert counted("/openapi.json", 200) == described + 1
    before = counted("/v1/detect", 200), counted("other", 404)
    faces = server.metric('extd_faces_total{endpoint="/v1/detect"}')
    server.post("/v1/detect?x=1", photo)
    server.post("/v1/detect", photo)
    server.request("GET", "/secret.jpg")
    assert (counted("/v1/detect", 200), counted("other", 404)) == (before[0] + 1, before[1] + 1)
    assert server.metric('extd_faces_total{endpoint="/v1/detect"}') == faces + 1
    assert "secret" not in server.request("GET", "/metrics").body.decode()
