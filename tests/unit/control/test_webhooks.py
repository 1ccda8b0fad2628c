"""Events posted to real HTTP receivers: each at least once, in order, signed; a dead one holds up nobody, a restart goes on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from seaway.control import webhooks
from seaway.control.bell import Bell
from seaway.control.webhooks import Webhooks
from seaway.core.errors import UserError
from seaway.core.events import Event, EventKind, NewEvent, timestamp
from seaway.core.ports import Change
from seaway.testing.clock import VirtualClock
from seaway.testing.state_store import MemoryStateStore

SECRET = "s" * 32
DEADLINE_S = 60.0


class Receiver:
    """An HTTP server that answers what `answers` says, one after the other, and 204 from then on."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.port = 0

    @property
    def events(self) -> list[Event]:
        return [msgspec.json.decode(body, type=Event) for _, body in self.requests]

    @property
    def seqs(self) -> list[int]:
        return [event.seq for event in self.events]

    @contextlib.asynccontextmanager
    async def listening(self, secured: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=secured)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.splitlines()
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append(({"": first, **headers}, body))
            answer = self.answers.pop(0) if self.answers else b"HTTP/1.1 204 No Content\r\n\r\n"
            if answer:
                writer.write(answer)
                await writer.drain()
                writer.close()
            else:
                await reader.read()  # it never answers; the other side gives up
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Home:
    """A store, its bell and the directory of the cursors."""

    def __init__(self, directory: Path) -> None:
        self.store = MemoryStateStore()
        self.clock = VirtualClock()
        self.directory = directory
        self.bell = Bell()

    def happens(self, *kinds: EventKind) -> None:
        events = tuple(
            NewEvent(timestamp(self.clock.now_s()), kind, "ada", "prices", 2, message=kind.value)
            for kind in kinds
        )
        self.store.apply(Change(events))
        self.bell.ring()

    @contextlib.asynccontextmanager
    async def posting(self, *urls: str, secret: str | None = SECRET) -> AsyncIterator[Webhooks]:
        found = webhooks.receivers(",".join(urls))
        posting = Webhooks(found, secret, self.store, self.directory, self.clock, self.bell)
        task = asyncio.create_task(posting.run())
        try:
            if urls:
                await until(lambda: len(list(self.directory.glob("*.json"))) == len(urls))
            yield posting
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


STEP, BACK, REFUSED, ERASED = (
    EventKind.ROLLOUT_STEPPED,
    EventKind.ROLLOUT_ROLLED_BACK,
    EventKind.ACTION_REFUSED,
    EventKind.DATA_ERASED,
)


def test_each_new_event_is_posted_once_in_order_and_signed(tmp_path: Path) -> None:
    async def run() -> Receiver:
        home = Home(tmp_path)
        home.happens(EventKind.DEPLOY_REQUESTED)  # before the receiver was set: not its affair
        async with (
            Receiver().listening() as receiver,
            home.posting(f"http://127.0.0.1:{receiver.port}/hook?token=abc") as posting,
        ):
            home.happens(STEP, REFUSED, STEP)
            home.happens(ERASED, BACK)
            await until(lambda: posting.status[0].delivered == 6)
            return receiver

    receiver = asyncio.run(run())
    assert receiver.seqs == [2, 4, 6]
    for headers, body in receiver.requests:
        assert headers[""] == "POST /hook?token=abc HTTP/1.1"
        assert headers["host"] == f"127.0.0.1:{receiver.port}"
        assert headers["content-type"] == "application/json"
        assert headers["seaway-event"] == str(msgspec.json.decode(body)["seq"])
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["seaway-signature"] == f"sha256={signature}"


def test_without_a_secret_nothing_is_signed(tmp_path: Path) -> None:
    async def run() -> Receiver:
        home = Home(tmp_path)
        async with (
            Receiver().listening() as receiver,
            home.posting(f"http://127.0.0.1:{receiver.port}", secret=None),
        ):
            home.happens(STEP)
            await until(lambda: receiver.requests)
            return receiver

    ((headers, _),) = asyncio.run(run()).requests
    assert "seaway-signature" not in headers and headers[""] == "POST / HTTP/1.1"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 500 Oops\r\n\r\n", "it answered 500"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "it answered 404"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
            "it answered 302, and redirects are not followed",
        ),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "what it answered is not HTTP"),
        (b"HTTP/1.1 2\r\n\r\n", "what it answered is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n", "the head of its answer has no end"),
        (b"HTTP/1.1 200", "it closed the connection without an answer"),
    ],
    ids=["500", "404", "redirect", "ssh", "cut code", "endless head", "cut"],
)
def test_what_was_not_taken_is_posted_again_and_nothing_overtakes_it(
    tmp_path: Path, answer: bytes, fault: str
) -> None:
    async def run() -> tuple[list[int], str, float | None]:
        home = Home(tmp_path)
        async with (
            Receiver(answer).listening() as receiver,
            home.posting(f"http://127.0.0.1:{receiver.port}/") as posting,
        ):
            home.happens(STEP, BACK)
            await until(lambda: posting.status[0].fault)
            (failing,) = posting.status
            await until(lambda: posting.status[0].delivered == 2)
            (done,) = posting.status
            assert (done.fault, done.failing_since_s, done.waiting) == (None, None, 0)
            assert (failing.delivered, failing.waiting) == (0, 2)
            return receiver.seqs, failing.fault or "", failing.failing_since_s

    seqs, said, since_s = asyncio.run(run())
    assert seqs == [1, 1, 2]
    assert since_s == VirtualClock().now_s()
    assert said == fault


def test_early_hints_are_no_answer(tmp_path: Path) -> None:
    async def run() -> list[int]:
        home = Home(tmp_path)
        hints = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        async with (
            Receiver(hints).listening() as receiver,
            home.posting(f"http://127.0.0.1:{receiver.port}/") as posting,
        ):
            home.happens(STEP)
            await until(lambda: posting.status[0].delivered == 1)
            return receiver.seqs

    assert asyncio.run(run()) == [1]


def test_over_https_only_a_certificate_that_is_trusted_gets_events(
    tmp_path: Path, make_certificate: Callable[[str], tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, key = make_certificate("IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    async def run(trusted: bool) -> tuple[list[int], str | None]:
        home = Home(tmp_path / str(trusted))
        async with (
            Receiver().listening(context) as receiver,
            home.posting(f"https://127.0.0.1:{receiver.port}/") as posting,
        ):
            home.happens(STEP)
            await until(lambda: posting.status[0].fault or posting.status[0].delivered == 1)
            return receiver.seqs, posting.status[0].fault

    seqs, fault = asyncio.run(run(trusted=False))
    assert seqs == [] and (fault or "").startswith("its certificate is not trusted: self")
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    assert asyncio.run(run(trusted=True)) == ([1], None)


def test_https_to_a_receiver_of_plain_http_says_so(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)  # what is unread when it closes would reset the connection
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def run() -> str | None:
        home = Home(tmp_path)
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with (
            server,
            home.posting(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as posting,
        ):
            home.happens(STEP)
            await until(lambda: posting.status[0].fault)
            return posting.status[0].fault

    assert asyncio.run(run()) == "it does not speak HTTPS: WRONG_VERSION_NUMBER"


def test_a_dead_receiver_and_a_silent_one_hold_up_nobody_else(tmp_path: Path) -> None:
    async def run() -> None:
        home = Home(tmp_path)
        async with Receiver().listening() as good, Receiver(*[b""] * 9).listening() as silent:
            gone = held.getsockname()[1]
            urls = [f"http://127.0.0.1:{port}/" for port in (gone, silent.port, good.port)]
            async with home.posting(*urls) as posting:
                for _ in range(20):
                    home.happens(STEP)
                await until(lambda: posting.status[2].delivered == 20)
                await until(lambda: posting.status[0].fault and silent.requests)
                dead, mute, well = posting.status
                assert (dead.delivered, well.delivered, well.waiting) == (0, 20, 0) and dead.waiting > 0
                assert mute.delivered == 0 and set(silent.seqs) == {1}  # again after 10 s
                assert dead.name == f"http://127.0.0.1:{gone}"

    with socket.socket() as held:  # nobody listens at it, and nobody else is given its port
        held.bind(("127.0.0.1", 0))
        asyncio.run(run())


def test_killed_and_started_again_it_goes_on_behind_what_was_taken(tmp_path: Path) -> None:
    async def run() -> list[int]:
        home = Home(tmp_path)
        async with Receiver().listening() as receiver:
            url = f"http://127.0.0.1:{receiver.port}/"
            async with home.posting(url):
                home.happens(STEP, STEP)
                await until(lambda: len(receiver.requests) == 2)
            home.happens(STEP)  # while nobody posts
            for _ in range(3):
                async with home.posting(url) as posting:
                    home.happens(STEP)
                    await until(lambda p=posting: p.status[0].delivered == home.store.last_seq())  # type: ignore[misc]
            return receiver.seqs

    seqs = asyncio.run(run())
    assert sorted(set(seqs)) == [1, 2, 3, 4, 5, 6]
    assert [seq for place, seq in enumerate(seqs) if seq not in seqs[:place]] == [1, 2, 3, 4, 5, 6]


def test_killed_between_the_answer_and_its_note_an_event_comes_twice_and_none_is_lost(tmp_path: Path) -> None:
    async def run() -> list[int]:
        home = Home(tmp_path)
        async with Receiver().listening() as receiver:
            url = f"http://127.0.0.1:{receiver.port}/"
            async with home.posting(url) as posting:
                home.happens(STEP)
                await until(lambda: posting.status[0].delivered == 1)
                (cursor,) = tmp_path.glob("*.json")
                before = cursor.read_bytes()
                home.happens(STEP, STEP)
                await until(lambda: posting.status[0].delivered == 3)
            cursor.write_bytes(before)
            async with home.posting(url) as posting:
                await until(lambda: posting.status[0].delivered == 3)
            return receiver.seqs

    assert asyncio.run(run()) == [1, 2, 3, 2, 3]


def test_a_receiver_that_is_set_no_more_is_forgotten(tmp_path: Path) -> None:
    async def run() -> list[int]:
        home = Home(tmp_path)
        async with Receiver().listening() as receiver:
            url = f"http://127.0.0.1:{receiver.port}/"
            async with home.posting(url):
                pass
            async with home.posting():
                await until(lambda: not list(tmp_path.glob("*.json")))
                home.happens(STEP)
            async with home.posting(url) as posting:
                home.happens(BACK)
                await until(lambda: posting.status[0].delivered == 2)
            return receiver.seqs

    assert asyncio.run(run()) == [2]


def test_a_damaged_cursor_begins_with_what_happens_next(tmp_path: Path) -> None:
    async def run() -> list[int]:
        home = Home(tmp_path)
        async with Receiver().listening() as receiver:
            url = f"http://127.0.0.1:{receiver.port}/"
            async with home.posting(url):
                home.happens(STEP)
                await until(lambda: receiver.requests)
            (cursor,) = tmp_path.glob("*.json")
            cursor.write_bytes(b"")
            async with home.posting(url) as posting:
                await until(lambda: posting.status[0].delivered == 1)
                home.happens(BACK)
                await until(lambda: posting.status[0].delivered == 2)
            return receiver.seqs

    assert asyncio.run(run()) == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.org/",
        "example.org",
        "http://",
        "http://user:secret@example.org/",
        "http://example.org:99999/",
        "http://example.org/a b",
        "http://example.org/\r\nx: y",
        "https://exämple.org/",
        "http://[::1/",
    ],
)
def test_what_is_no_receiver_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(UserError) as caught:
        webhooks.receivers(text)
    assert caught.value.code == "invalid_config"
    assert "secret@" not in caught.value.message


def test_receivers_are_named_by_their_host_alone() -> None:
    text = "https://hooks.example.org/T0/B0/token, http://[::1]:9000, https://hooks.example.org/T0/B0/token"
    first, second = webhooks.receivers(text)
    assert (first.name, first.port, first.target, first.secure) == (
        "https://hooks.example.org",
        443,
        "/T0/B0/token",
        True,
    )
    assert (second.name, second.host, second.port, second.target) == ("http://[::1]:9000", "::1", 9000, "/")
    assert webhooks.receivers("") == ()
