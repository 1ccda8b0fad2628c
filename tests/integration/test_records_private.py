"""W12 on a real server: of what callers send, only what the documents say is on the disk or in the metrics."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from control_process import until
from recorded_server import ask, body, holding, recorded
from serve_process import Answer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MAIL, CARD, NAME, TOKEN = "erika@example.com", "4111 1111 1111 1111", "Erika Mustermann", "hunter2-Geheim"
PATH = "/v2/models/people/infer"


def spread(server: object) -> None:
    """Everything that a careless client sends, in every place that it can send it."""
    text = f"{NAME} {MAIL} {CARD}"
    query = f"{PATH}?mail={quote(MAIL)}&name={quote(NAME)}&card={quote(CARD)}&key={TOKEN}"
    marks = {"authorization": f"Bearer {TOKEN}", "cookie": f"name={NAME}; mail={MAIL}", "user_agent": text}
    bodies = [
        body(1.0, text),
        body(2.0, text)[:-9],  # cut short
        json.dumps({"inputs": text}).encode(),
        json.dumps({"inputs": [{"name": text, "datatype": text, "shape": [1, 1], "data": [text]}]}).encode(),
        json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [text]}]}).encode(),
        body(3.0, text).replace(b"FP32", b"INT64"),
    ]
    seen = set()
    for data in bodies:
        for path in (PATH, query, f"/predict/{quote(NAME)}?{TOKEN}", "/predict/people", f"/{quote(MAIL)}"):
            for caller in ({}, {"seaway_caller": text}, {"seaway_caller": "team-a"}):
                status, _ = ask(server, data, path, **marks, **caller)  # type: ignore[arg-type]
                seen.add(status)
        ask(server, data, "/feedback", **marks)  # type: ignore[arg-type]
        for header in ("x_request_id", "traceparent", "seaway_deadline_ms", "x_user_id"):
            ask(server, data, **{header: text}, **marks)  # type: ignore[arg-type]
    assert {200, 400, 404} <= seen


def test_w12_only_what_the_documents_say_is_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with recorded(home) as server:
        spread(server)
        assert ask(server, body(4.0), x_request_id="the-last")[0] == 200
        until(
            lambda: any(name.startswith("log/") for name in holding(home, b"the-last"))
        )  # every one is logged
        scrapes = [_metrics(server) for _ in range(4)]
        assert all("seaway_requests_total" in text for text in scrapes)
        for secret in (MAIL, CARD, NAME, TOKEN, "Mustermann", "4111", quote(MAIL), quote(CARD), quote(NAME)):
            assert not any(secret in text for text in scrapes), secret
            assert _unexpected(home, secret) == [], secret
        assert server.down() == 0
        for secret in (MAIL, CARD, NAME, TOKEN, "Mustermann"):
            assert _unexpected(home, secret) == [], secret


def _unexpected(home: Path, secret: str) -> list[str]:
    return holding(home, secret.encode())


def _metrics(server: object) -> str:
    import http.client

    connection = http.client.HTTPConnection(*server.address, timeout=60)  # type: ignore[attr-defined]
    try:
        connection.request("GET", "/metrics")
        return Answer(connection.getresponse()).body.decode()
    finally:
        connection.close()
