"""The API's doors and routes (attack rows C01 and C07), called without a network."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from control_fakes import Plane, call, exchange, make_app

from seaway.control import api, doors, routes
from seaway.core.deployments import Phase
from seaway.core.errors import UserError
from seaway.core.ports import Change

TOKEN = "t" * 43
TCP = doors.TcpDoor("127.0.0.1", 8900, TOKEN)
SOCKET = doors.SocketDoor(owner=os.geteuid())
GOOD = {"host": "127.0.0.1:8900", "authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
DEPLOY = b'{"bundle": "prices:v1"}'
ME = (str(os.geteuid()), 1)


@pytest.fixture
def plane() -> Plane:
    return Plane()


def test_the_socket_door_knows_the_user(plane: Plane) -> None:
    answer = call(plane, SOCKET, "PUT", "/endpoints/prices", DEPLOY, client=ME)
    assert answer.status == 202
    assert answer.json()["revision"] == 1
    assert call(plane, SOCKET, "PUT", "/endpoints/prices", DEPLOY, client=ME).status == 200


@pytest.mark.parametrize(
    "route", [r for r in api.ROUTES if r.action is not None], ids=lambda r: f"{r.method} {r.path}"
)
def test_every_route_refuses_a_stranger(plane: Plane, route: routes.ControlRoute) -> None:
    call(plane, SOCKET, "PUT", "/endpoints/prices", DEPLOY, client=ME)
    bodies = {"/endpoints/{name}": DEPLOY, "/endpoints/{name}/rollout/traffic": b'{"percent": 5}'}
    body = bodies.get(route.path, b"") if route.method in ("PUT", "POST") else b""
    path = route.path.replace("{name}", "prices").replace("{number}", "1")
    answer = call(plane, doors.SocketDoor(owner=4242), route.method, path, body, client=("4243", 1))
    assert answer.status == 403
    assert answer.json()["code"] == "forbidden"
    refused = plane.kinds().count("action_refused")
    assert refused == (0 if route.method == "GET" else 1)


def test_only_health_is_open_to_anybody() -> None:
    assert [route.path for route in api.ROUTES if route.action is None] == ["/healthz"]


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("cross-origin", {**GOOD, "origin": "https://evil.example"}),
        ("null origin", {**GOOD, "origin": "null"}),
        ("other port", {**GOOD, "origin": "http://127.0.0.1:3000"}),
        ("form", {**GOOD, "content-type": "text/plain"}),
        ("form with charset", {**GOOD, "content-type": "text/plain; charset=utf-8"}),
        ("url-encoded form", {**GOOD, "content-type": "application/x-www-form-urlencoded"}),
        ("multipart form", {**GOOD, "content-type": "multipart/form-data; boundary=x"}),
        ("rebound name", {**GOOD, "host": "evil.example:8900"}),
        ("rebound name without port", {**GOOD, "host": "evil.example"}),
        ("other site", {**GOOD, "sec-fetch-site": "cross-site"}),
        (
            "web socket",
            {**GOOD, "upgrade": "websocket", "connection": "upgrade", "origin": "https://evil.example"},
        ),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_c01_what_only_a_foreign_page_sends_is_refused(
    plane: Plane, name: str, headers: dict[str, str], method: str
) -> None:
    path = "/endpoints/prices/rollback" if method == "POST" else "/endpoints/prices"
    answer = call(plane, TCP, method, path, DEPLOY, headers, client=("127.0.0.1", 5000))
    assert answer.status == 403, name
    assert answer.json()["code"] == "cross_origin"
    assert plane.store.states() == ()
    assert plane.kinds() == ["action_refused"]


def test_c01_the_servers_own_origin_is_fine(plane: Plane) -> None:
    headers = {**GOOD, "origin": "http://127.0.0.1:8900", "sec-fetch-site": "same-origin"}
    assert call(plane, TCP, "PUT", "/endpoints/prices", DEPLOY, headers).status == 202


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN]
)
def test_the_tcp_door_wants_the_token(plane: Plane, given: str | None) -> None:
    headers = {k: v for k, v in GOOD.items() if k != "authorization"}
    headers |= {} if given is None else {"authorization": given}
    answer = call(plane, TCP, "PUT", "/endpoints/prices", DEPLOY, headers)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert plane.kinds() == ["action_refused"]


def test_the_token_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = doors.read_token(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert doors.read_token(path) == token
    assert len(token) >= 43
    path.chmod(0o644)
    with pytest.raises(UserError, match="can be read by others"):
        doors.read_token(path)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_request"),
        (b'{"spec": {"serve": {"engine": ' + b'{"a": ' * 100_000, 400, "invalid_json"),
        (b'{"bundle": "prices:v1", "owner": "eve"}', 400, "invalid_request"),
        (b'{"bundle": 3}', 400, "invalid_request"),
        (b"{}", 400, "invalid_request"),
        (b'{"bundle": "prices"}', 400, "invalid_reference"),
        (b'{"bundle": "nothing:v1"}', 404, "version_not_found"),
        (b'{"spec": {"version": 2, "endpoint": "prices", "serve": {"bundle": "p:v1"}}}', 422, "invalid_spec"),
        (b'{"spec": {"version": 1, "endpoint": "prices", "serve": {}}}', 422, "invalid_spec"),
        (
            b'{"spec": {"version": 1, "endpoint": "other", "serve": {"bundle": "p:v1"}}}',
            400,
            "invalid_request",
        ),
        (b" " * (1024 * 1024 + 1), 413, "body_too_large"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_body_is_named(plane: Plane, body: bytes, status: int, code: str) -> None:
    answer = call(plane, SOCKET, "PUT", "/endpoints/prices", body, {"x-request-id": "r-1"}, client=ME)
    assert (answer.status, answer.json()["code"], answer.json()["request_id"]) == (status, code, "r-1")
    assert plane.store.states() == ()
    assert plane.kinds() == ["action_refused"]


def test_unknown_routes_and_methods(plane: Plane) -> None:
    assert call(plane, SOCKET, "GET", "/nothing", client=ME).json()["code"] == "route_not_found"
    assert call(plane, SOCKET, "PATCH", "/status", client=ME).json()["code"] == "method_not_allowed"
    assert call(plane, SOCKET, "GET", "/endpoints/none", client=ME).json()["code"] == "endpoint_not_found"
    assert call(plane, SOCKET, "GET", "/events?after=-1", client=ME).json()["code"] == "invalid_request"
    bad_name = call(plane, SOCKET, "PUT", "/endpoints/..%2f", DEPLOY, client=ME)
    assert bad_name.status == 400


def test_c07_over_http(plane: Plane) -> None:
    def put(body: bytes) -> tuple[int, dict[str, object]]:
        answer = call(plane, SOCKET, "PUT", "/endpoints/prices", body, {"idempotency-key": "k"}, client=ME)
        return answer.status, answer.json()

    first = put(DEPLOY)
    assert put(DEPLOY) == first
    status, body = put(b'{"bundle": "prices:v2"}')
    assert (status, body["code"]) == (422, "idempotency_conflict")
    assert len(plane.store.revisions("prices")) == 1


def test_status_and_history_answer_what_is_stored(plane: Plane) -> None:
    call(plane, SOCKET, "PUT", "/endpoints/prices", DEPLOY, client=ME)
    status = call(plane, SOCKET, "GET", "/status", client=ME).json()
    assert [endpoint["endpoint"] for endpoint in status["endpoints"]] == ["prices"]  # type: ignore[attr-defined]
    history = msgspec.json.decode(call(plane, SOCKET, "GET", "/endpoints/prices/history", client=ME).body)
    assert [event["kind"] for event in history] == ["deploy_requested"]
    assert call(plane, SOCKET, "GET", "/history?at=2099-01-01", client=ME).body == b"[]"
    assert call(plane, SOCKET, "GET", "/healthz", client=("4243", 1)).status == 200


def test_status_and_rollback_answer_while_more_gates_run_than_there_are_threads(plane: Plane) -> None:
    for number in (1, 2):
        call(plane, SOCKET, "PUT", "/endpoints/prices", b'{"bundle": "prices:v%d"}' % number, client=ME)
    live = plane.store.state("prices")
    assert live is not None
    proven = msgspec.structs.replace(live, generation=3, phase=Phase.LIVE, live=2, proven=(1, 2))
    plane.store.apply(Change((), proven))
    plane.gate.before_answer.clear()

    async def run() -> tuple[list[int], list[int]]:
        with ThreadPoolExecutor(2) as deploying:
            app = make_app(plane, SOCKET, deploying)
            gated = [
                asyncio.create_task(exchange(app, "PUT", f"/endpoints/e{n}", DEPLOY, {}, ME))
                for n in range(40)
            ]
            await asyncio.to_thread(plane.gate.arrived.acquire)
            try:
                async with asyncio.timeout(30):
                    quick = [
                        (await exchange(app, "GET", "/status", b"", {}, ME)).status,
                        (await exchange(app, "POST", "/endpoints/prices/rollback", b"{}", {}, ME)).status,
                    ]
            finally:
                plane.gate.before_answer.set()
            return quick, [answer.status for answer in await asyncio.gather(*gated)]

    quick, gated = asyncio.run(run())
    assert quick == [200, 202]
    assert gated == [202] * 40


def test_a_rollback_takes_its_reason_by_the_api(plane: Plane) -> None:
    for version in (1, 2):
        call(plane, SOCKET, "PUT", "/endpoints/prices", b'{"bundle": "prices:v%d"}' % version, client=ME)
        state = plane.store.state("prices")
        assert state is not None
        proven = tuple(range(1, version + 1))
        live = msgspec.structs.replace(
            state, generation=state.generation + 1, phase=Phase.LIVE, live=version, proven=proven
        )
        plane.store.apply(Change((), live))
    path, headers = "/endpoints/prices/rollback", {"idempotency-key": "k"}
    for body, status in (
        (b'{"reason": "wrong"}', 202),
        (b'{"reason": "wrong"}', 202),
        (b'{"reason": "no"}', 422),
    ):
        assert call(plane, SOCKET, "POST", path, body, headers, client=ME).status == status
    asked = [event for event in plane.store.events() if event.kind == "rollback_requested"]
    assert [event.details for event in asked] == [{"reason": "wrong"}]
    refused = call(plane, SOCKET, "POST", path, b'{"reason": ""}', client=ME)
    assert (refused.status, refused.json()["code"]) == (400, "invalid_request")
