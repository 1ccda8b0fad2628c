"""The Python client and `seaway predict` over TLS: whom they trust, and what they say where it does not fit."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import seaway
from seaway import settings
from seaway.cli import main as cli
from seaway.client import address
from seaway.core.errors import SeawayError, TemporaryError, UserError

MakeCertificate = Callable[[str], tuple[Path, Path]]
METADATA = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}


class _Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A handshake that fails is what these tests are about."""


class Echo:
    """Answers each prediction with its rows, over TLS where it is given a certificate and its key."""

    def __init__(self, pair: tuple[Path, Path] | None) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(METADATA)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path.endswith("generate_stream"):
                    self._send_bytes(b'data: {"y": 1.0}\n\n')
                else:
                    self._send({"predictions": body["instances"]})

            def _send(self, found: dict[str, object]) -> None:
                self._send_bytes(json.dumps(found).encode())

            def _send_bytes(self, body: bytes) -> None:
                self.send_response(200)
                for name in ("seaway-revision", "content-length"):
                    self.send_header(name, str(len(body)))
                for name in ("seaway-digest", "x-request-id"):
                    self.send_header(name, "-")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*pair)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[tuple[Path, Path] | None], Echo]]:
    """Starts servers, and ends them."""
    started: list[Echo] = []

    def start(pair: tuple[Path, Path] | None) -> Echo:
        started.append(Echo(pair))
        return started[-1]

    yield start
    for echo in started:
        echo.close()


Serve = Callable[[tuple[Path, Path] | None], Echo]


@pytest.fixture(scope="module")
def local(make_certificate: MakeCertificate) -> tuple[Path, Path]:
    return make_certificate("IP:127.0.0.1")


@pytest.fixture(scope="module")
def elsewhere(make_certificate: MakeCertificate) -> tuple[Path, Path]:
    return make_certificate("DNS:models.test")


def refusal(client: seaway.Client) -> SeawayError:
    with client, pytest.raises(SeawayError) as caught:
        client.predict("e", [[1, 2]])
    return caught.value


def record(home: Path, port: int, certificate: Path) -> None:
    (home / "run").mkdir(parents=True)
    found = {"http": f"127.0.0.1:{port}", "certificate": str(certificate)}
    (home / "run" / "supervisor.json").write_text(json.dumps(found))


def test_a_named_ca_is_trusted_for_predictions_and_streams(serve: Serve, local: tuple[Path, Path]) -> None:
    with seaway.Client(f"https://127.0.0.1:{serve(local).port}", ca=local[0]) as client:
        assert client.predict("e", [[1, 2]]) == [[1, 2]]
        assert client.predict("e", [[3, 4]]) == [[3, 4]]
        assert list(client.stream("e", {"x": 1})) == [{"y": 1.0}]


def test_the_cas_of_the_system_are_trusted(
    serve: Serve, local: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://127.0.0.1:{serve(local).port}"
    error = refusal(seaway.Client(url))
    assert isinstance(error, UserError) and "is not trusted" in error.message
    assert "--ca FILE" in str(error.hint)
    monkeypatch.setenv("SSL_CERT_FILE", str(local[0]))
    with seaway.Client(url) as client:
        assert client.predict("e", [[1, 2]]) == [[1, 2]]


def test_a_certificate_for_another_name_is_refused(serve: Serve, elsewhere: tuple[Path, Path]) -> None:
    error = refusal(seaway.Client(f"https://127.0.0.1:{serve(elsewhere).port}", ca=elsewhere[0]))
    assert "not valid for '127.0.0.1'" in error.message and "name in its certificate" in str(error.hint)


def test_the_server_of_a_home_is_known_by_its_own_certificate(
    serve: Serve, elsewhere: tuple[Path, Path], local: tuple[Path, Path], tmp_path: Path
) -> None:
    chain = (
        tmp_path / "chain.pem"
    )  # the certificates of CAs follow the server's own; they are not trusted with it
    chain.write_bytes(b"a comment\n" + elsewhere[0].read_bytes() + local[0].read_bytes())
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    record(right, serve(elsewhere).port, chain)
    record(wrong, serve(local).port, chain)
    with seaway.Client(home=right) as client:
        assert client.predict("e", [[1, 2]]) == [[1, 2]]
    assert "is not trusted" in refusal(seaway.Client(home=wrong)).message


def test_predict_calls_the_home_by_https(
    serve: Serve, elsewhere: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, rows = tmp_path / "home", tmp_path / "rows.csv"
    rows.write_text("a,b\n1,2\n")
    record(home, serve(elsewhere).port, elsewhere[0])
    assert cli.main(["predict", "e", "--data", str(rows), "--home", str(home)]) == 0
    assert json.loads(capsys.readouterr().out) == [1, 2]
    url = address.server_url(settings.load(home))
    assert url.startswith("https://")
    assert cli.main(["predict", "e", "--data", str(rows), "--url", url, "--ca", str(elsewhere[0])]) == 2
    assert "not valid for '127.0.0.1'" in capsys.readouterr().err


def test_http_and_https_are_not_mixed_up_in_silence(serve: Serve, local: tuple[Path, Path]) -> None:
    plain, secure = serve(None).port, serve(local).port
    error = refusal(seaway.Client(f"https://127.0.0.1:{plain}", ca=local[0]))
    assert "speaks plain HTTP" in error.message and error.hint == f"call http://127.0.0.1:{plain}"
    error = refusal(seaway.Client(f"http://127.0.0.1:{secure}"))
    assert isinstance(error, TemporaryError | UserError)
    assert f"call https://127.0.0.1:{secure}" in str(error.hint)


@pytest.mark.parametrize(
    ("url", "ca", "said"),
    [
        ("https://127.0.0.1:1", "junk.pem", "holds no PEM certificate"),
        ("https://127.0.0.1:1", "absent.pem", "cannot be read"),
        ("http://127.0.0.1:1", "junk.pem", "is plain HTTP"),
        ("ftp://127.0.0.1:1", None, "is not the address of a server"),
        ("https://127.0.0.1:x", None, "is not the address of a server"),
    ],
)
def test_what_cannot_be_meant_is_refused(url: str, ca: str | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(UserError, match=said):
        seaway.Client(url, ca=None if ca is None else tmp_path / ca)
