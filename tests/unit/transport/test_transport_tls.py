"""TLS with certificates made by the openssl command line, and their reload."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
import uvloop
from transport_wire import GET, ByHand

from seaway.core.errors import SeawayError, UserError
from seaway.transport.limits import TransportLimits
from seaway.transport.server import HttpServer
from seaway.transport.tls import Certificates

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command line")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Two pairs of certificate and key, by their common name."""
    made = {}
    for name in ("one.test", "two.test"):
        directory = tmp_path_factory.mktemp(name)
        certificate, key = directory / "certificate.pem", directory / "key.pem"
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:prime256v1",
                    "-nodes",
                ),
                *("-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
                *("-out", str(certificate), "-keyout", str(key)),
            ],
            check=True,
            capture_output=True,
        )
        made[name] = certificate, key
    return made


class Served:
    """A TLS server on a free port, whose files a test replaces."""

    def __init__(self, directory: Path, pair: tuple[Path, Path], trusted: list[Path]) -> None:
        self._trusted = b"".join(path.read_bytes() for path in trusted).decode("ascii")
        self.certificate, self.key = directory / "certificate.pem", directory / "key.pem"
        self.put(pair)
        self.broken: list[SeawayError] = []
        self.certificates = Certificates(self.certificate, self.key, self.broken.append)
        application = ByHand()
        application.answer = lambda exchange: exchange.respond(200, b"", b"secure %d" % exchange.secure)
        self.server = HttpServer(application, TransportLimits(sweep_s=3600))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def put(self, pair: tuple[Path, Path]) -> None:
        for source, target in zip(pair, (self.certificate, self.key), strict=True):
            fresh = target.with_suffix(".new")
            shutil.copy(source, fresh)
            fresh.replace(target)

    async def start(self) -> None:
        await self.server.start(self._listener, self.certificates)

    async def stop(self) -> None:
        self.server.stop_accepting()
        await self.server.drain(0.0, 1.0)

    async def ask(
        self, name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
    ) -> tuple[str, str | None, bytes]:
        """The common name that the server showed, the protocol agreed on, and its answer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self._trusted)
        context.maximum_version = version
        context.set_alpn_protocols(["h2", "http/1.1"])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname=name or ""
        )
        tls = writer.get_extra_info("ssl_object")
        subject = dict(pair[0] for pair in tls.getpeercert()["subject"])
        writer.write(GET)
        answer = await reader.readuntil(b"secure 1")
        writer.close()
        await writer.wait_closed()
        return subject["commonName"], tls.selected_alpn_protocol(), answer


@pytest.mark.parametrize("loops", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("name", ["one.test", None], ids=["named", "unnamed"])
def test_new_certificates_are_served_and_broken_ones_are_not(
    loops: type, name: str | None, tmp_path: Path, pairs: dict[str, tuple[Path, Path]]
) -> None:
    async def test() -> None:
        served = Served(tmp_path, pairs["one.test"], [certificate for certificate, _ in pairs.values()])
        await served.start()
        now_s = asyncio.get_running_loop().time()
        shown, protocol, answer = await served.ask(name)
        assert (shown, protocol) == ("one.test", "http/1.1")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        served.put(pairs["two.test"])
        served.server.sweep(now_s)
        assert (await served.ask(name))[0] == "two.test"
        served.put((pairs["one.test"][0], pairs["two.test"][1]))
        served.server.sweep(now_s)
        served.server.sweep(now_s)
        assert [error.code for error in served.broken] == ["invalid_config"]
        assert (await served.ask(name))[0] == "two.test"
        served.put(pairs["one.test"])
        served.server.sweep(now_s)
        assert (await served.ask(name))[0] == "one.test"
        await served.stop()

    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(test())


def test_a_pair_that_cannot_be_used_is_named(tmp_path: Path, pairs: dict[str, tuple[Path, Path]]) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    encrypted = tmp_path / "encrypted.pem"
    certificate, key = pairs["one.test"]
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", str(key), "-out", str(encrypted), "-passout", "pass:secret"],
        check=True,
    )
    for pair in (
        (tmp_path / "absent.pem", key),
        (garbage, key),
        (certificate, garbage),
        (certificate, encrypted),
    ):
        with pytest.raises(UserError) as caught:
            Certificates(*pair, on_broken=lambda _: None)
        assert caught.value.code == "invalid_config"
        assert pair[0].name in caught.value.message


def test_tls_1_2_is_spoken_and_1_1_is_not(tmp_path: Path, pairs: dict[str, tuple[Path, Path]]) -> None:
    async def test() -> None:
        served = Served(tmp_path, pairs["one.test"], [pairs["one.test"][0]])
        assert served.certificates.context.minimum_version == ssl.TLSVersion.TLSv1_2
        await served.start()
        assert (await served.ask("one.test", ssl.TLSVersion.TLSv1_2))[0] == "one.test"
        await served.stop()

    asyncio.run(test())


def test_a_plain_client_does_not_disturb_the_listener(
    tmp_path: Path, pairs: dict[str, tuple[Path, Path]]
) -> None:
    async def test() -> None:
        served = Served(tmp_path, pairs["one.test"], [pairs["one.test"][0]])
        await served.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(GET)
        await reader.read()
        writer.close()
        assert (await served.ask("one.test"))[0] == "one.test"
        await served.stop()

    asyncio.run(test())
