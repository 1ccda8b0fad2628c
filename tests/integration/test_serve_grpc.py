"""The gRPC door on real models with real clients: answers, statuses, and the attack rows of gRPC."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from grpc_serving import HEALTH, OIP, Client, Serving
from serve_process import revision, route, until

from seaway.core.errors import UserError
from seaway.core.traffic import Limits, RoutingTable
from seaway.serve.grpc_door import GrpcServer
from seaway.testing import tiny_models

LIMIT = 4096


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    home = tmp_path_factory.mktemp("grpc")
    prices = tiny_models.linear(home / "m", 10.0)
    table = RoutingTable(
        1,
        (
            route("prices", revision(3, prices)),
            route("words", revision(1, tiny_models.lookup(home / "w"))),
            route("small", revision(1, prices), limits=Limits(60.0, 60.0, LIMIT)),
            route("slow", revision(1, tiny_models.endless(home / "e")), limits=Limits(deadline_s=15.0)),
        ),
    )
    server = Serving(table, max_message_bytes=1_000_000, max_calls=4)
    yield server
    server.stop()


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    """After every test the server still answers, and no run goes on that the test has left."""
    made = Client(serving.address)
    yield made
    until(lambda: made.answers(slow(1)))
    answer, _ = made.infer(request())
    assert list(answer.outputs[0].contents.fp32_contents) == [16.0]
    made.channel.close()


def request(model: str = "prices", raw: bool = False, values: Any = (1, 2, 3), **fields: Any) -> Any:
    message = OIP.ModelInferRequest(model_name=model, **fields)
    tensor = message.inputs.add(name="x", datatype="FP32", shape=[len(values) // 3, 3])
    if raw:
        message.raw_input_contents.append(np.array(values, "<f4").tobytes())
    else:
        tensor.contents.fp32_contents.extend(values)
    return message


def refused(caught: pytest.ExceptionInfo[grpc.RpcError], status: str, code: str, *words: str) -> None:
    error: Any = caught.value
    assert error.code().name == status, error
    metadata = dict(error.trailing_metadata())
    assert metadata["seaway-code"] == code, error
    assert metadata["x-request-id"]
    for word in words:
        assert word in error.details()


def test_typed_contents_are_answered_typed(client: Client) -> None:
    answer, metadata = client.infer(request(id="abc"), metadata=(("x-request-id", "mine"),))
    assert (answer.model_name, answer.model_version, answer.id) == ("prices", "3", "abc")
    assert list(answer.outputs[0].contents.fp32_contents) == [16.0]
    assert list(answer.outputs[0].shape) == [1, 1]
    assert not answer.raw_output_contents
    assert (metadata["x-request-id"], metadata["seaway-revision"]) == ("mine", "3")
    assert metadata["seaway-digest"].startswith("sha256:")


def test_raw_contents_are_answered_raw(client: Client) -> None:
    answer, metadata = client.infer(request(raw=True, values=(1, 2, 3, 4, 5, 6)))
    assert answer.raw_output_contents[0] == np.array([[16], [25]], "<f4").tobytes()
    assert not answer.outputs[0].HasField("contents")
    assert metadata["x-request-id"]


def test_bytes_and_asked_for_outputs(client: Client) -> None:
    message = OIP.ModelInferRequest(model_name="words", model_version="1")
    message.inputs.add(name="index", datatype="INT64", shape=[2]).contents.int64_contents.extend([2, 0])
    message.inputs.add(name="name", datatype="BYTES", shape=[2]).contents.bytes_contents.extend(
        [b"\xc3\xa4", b""]
    )
    message.outputs.add(name="same")
    answer, _ = client.infer(message)
    assert [output.name for output in answer.outputs] == ["same"]
    assert list(answer.outputs[0].contents.bytes_contents) == ["ä".encode(), b""]


def test_tritonclient(serving: Serving) -> None:
    with tritonclient.grpc.InferenceServerClient(serving.address) as triton:
        assert triton.is_server_live()
        assert triton.is_server_ready()
        assert triton.is_model_ready("prices")
        assert triton.get_server_metadata().version == "1.2.3"
        metadata = triton.get_model_metadata("words", as_json=True)
        assert [item["datatype"] for item in metadata["inputs"]] == ["INT64", "BYTES"]
        x = tritonclient.grpc.InferInput("x", [2, 3], "FP32")
        x.set_data_from_numpy(np.array([[1, 2, 3], [4, 5, 6]], np.float32))
        result = triton.infer("prices", [x], request_id="7", client_timeout=60)
        assert result.get_response().id == "7"
        np.testing.assert_array_equal(result.as_numpy("y"), np.array([[16], [25]], np.float32))
        index = tritonclient.grpc.InferInput("index", [1], "INT64")
        index.set_data_from_numpy(np.array([1]))
        name = tritonclient.grpc.InferInput("name", [1], "BYTES")
        name.set_data_from_numpy(np.array(["ö".encode()], object))
        wanted = tritonclient.grpc.InferRequestedOutput("word")
        result = triton.infer("words", [index, name], outputs=[wanted])
        assert result.as_numpy("word").tolist() == [b"one"]


def test_health(client: Client) -> None:
    check = "/grpc.health.v1.Health/Check"
    for service in ("", "inference.GRPCInferenceService"):
        data, _ = client.call(check, HEALTH.HealthCheckRequest(service=service))
        assert HEALTH.HealthCheckResponse.FromString(data).status == 1
    with pytest.raises(grpc.RpcError) as caught:
        client.call(check, HEALTH.HealthCheckRequest(service="other"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_draining_server_is_live_but_not_ready(serving: Serving, client: Client) -> None:
    serving.plane.draining = True
    try:
        data, _ = client.call("ServerReady", b"")
        assert not OIP.ServerReadyResponse.FromString(data).ready
        data, _ = client.call("/grpc.health.v1.Health/Check", b"")
        assert HEALTH.HealthCheckResponse.FromString(data).status == 2
        data, _ = client.call("ServerLive", b"")
        assert OIP.ServerLiveResponse.FromString(data).live
    finally:
        serving.plane.draining = False


@pytest.mark.parametrize(
    ("message", "status", "code", "word"),
    [
        (request("none"), "NOT_FOUND", "endpoint_not_found", "prices"),
        (request(model_version="9"), "NOT_FOUND", "revision_not_found", "9"),
        (request(model_version="v3"), "NOT_FOUND", "revision_not_found", "v3"),
        (request(values=(1, 2, 3, 4)), "INVALID_ARGUMENT", "wrong_shape", "4 values"),
        (request(raw=True, values=(1, 2, float("nan"))), "INVALID_ARGUMENT", "invalid_value", "NaN"),
        (request(values=(1, 2, float("nan"))), "INVALID_ARGUMENT", "invalid_value", "NaN"),
        (OIP.ModelInferRequest(model_name="prices"), "INVALID_ARGUMENT", "missing_input", "x"),
    ],
)
def test_refusals_have_the_status_of_their_code(
    client: Client, message: Any, status: str, code: str, word: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.infer(message)
    refused(caught, status, code, word)


def test_answers_are_counted_under_the_door(serving: Serving, client: Client) -> None:
    client.infer(request())
    with pytest.raises(grpc.RpcError):
        client.infer(request(values=(1, 2, 3, 4, 5)))
    codes = serving.run(_counted(serving))
    assert codes["grpc", "prices", "3", "OK"] and codes["grpc", "prices", "3", "wrong_shape"]
    told = [one for one in serving.recorder.requests if one.code == "OK"][-1]
    assert (told.rows, told.batch_rows) == (1, 1)
    assert told.outputs is not None and told.tensors and told.received_s < told.ended_s
    assert told.request_id


async def _counted(serving: Serving) -> Counter[tuple[str, str, str, str]]:
    """On the loop, after what the calls' threads have posted to it."""
    return Counter(serving.recorder.codes)


def test_the_id_of_a_message_is_its_request_id(serving: Serving, client: Client) -> None:
    named, other, token = (("x-request-id", "grpc-2"),), (("x-request-id", "two words"),), "grpc-1"
    told = [
        client.infer(request(id=protocol_id), metadata=metadata)[1]["x-request-id"]
        for protocol_id, metadata in ((token, ()), (token, named), (token, other), ("no token", ()))
    ]
    assert told[:3] == ["grpc-1", "grpc-2", "grpc-1"] and told[3] != "no token"
    serving.run(_counted(serving))
    assert [one.request_id.decode() for one in serving.recorder.requests[-4:]] == told


def test_g01_a_message_over_the_limit(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.infer(request(values=(0.0,) * 300_000))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as caught:
        client.infer(request("small", values=(0.0,) * 1023))
    refused(caught, "RESOURCE_EXHAUSTED", "body_too_large", "4,096")
    client.infer(request("small", values=(0.0,) * 900))


def test_g02_metadata_over_the_limit(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.infer(request(), metadata=(("x-large", "a" * 20_000),))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_g02_binary_garbage_in_metadata_is_no_request_id(client: Client) -> None:
    garbage = bytes(range(256))
    _, metadata = client.infer(
        request(), metadata=(("x-request-id-bin", garbage), ("x-request-id", "two words"))
    )
    assert metadata["x-request-id"] != "two words"


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 16,
        b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["random", "http1", "bad-frames", "tls"],
)
def test_g03_other_bytes_on_the_port(serving: Serving, client: Client, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", serving.port), 60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass  # closed is what is wanted, politely or not
    client.infer(request())


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x0a\xff", bytes(range(256))])
def test_g03_a_message_that_is_none(client: Client, data: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.call("ModelInfer", data)
    refused(caught, "INVALID_ARGUMENT", "invalid_request", "ModelInferRequest")


def in_flight(serving: Serving, endpoint: str) -> int:
    return sum(h.in_flight for h in serving.plane.router.pool.handles() if h.endpoint == endpoint)


def slow(rounds: float) -> Any:
    message = OIP.ModelInferRequest(model_name="slow")
    message.inputs.add(name="times", datatype="FP32", shape=[1]).contents.fp32_contents.append(rounds)
    return message


@pytest.mark.parametrize("timeout", [0.0, 1e-9, 0.001, 0.2])
def test_g05_deadlines(serving: Serving, client: Client, timeout: float) -> None:
    client.infer(request())  # connected: the deadline is for the call alone
    with pytest.raises(grpc.RpcError) as caught:
        client.infer(slow(1e9), timeout=timeout)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: in_flight(serving, "slow") == 0, 12.0)  # not the endpoint's 15 s


def test_g05_a_cancelled_call_leaves_the_model(serving: Serving, client: Client) -> None:
    future = client.future("ModelInfer", slow(1e9))
    until(lambda: in_flight(serving, "slow") == 1)
    future.cancel()
    until(lambda: in_flight(serving, "slow") == 0, 12.0)


def test_g06_a_thousand_calls_with_a_limit_of_four(client: Client) -> None:
    futures = [client.future("ModelInfer", slow(1e9), timeout=50.0) for _ in range(1000)]
    until(lambda: sum(future.done() for future in futures) >= 996)
    running = [future for future in futures if not future.done()]
    codes = Counter(future.code().name for future in futures if future.done())
    # Four at a time: a slow machine may be at it still when the first four meet the endpoint's deadline.
    assert 0 < codes.pop("DEADLINE_EXCEEDED", 0) + len(running) <= 8
    # UNAVAILABLE is what the client makes of a stream that was refused before it was a call.
    assert codes.pop("RESOURCE_EXHAUSTED") + codes.pop("UNAVAILABLE", 0) >= 990
    assert not codes
    for future in running:
        future.cancel()


def test_reflection_is_not_served(client: Client) -> None:
    for method in (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/inference.GRPCInferenceService/X",
    ):
        with pytest.raises(grpc.RpcError) as caught:
            client.call(method, b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_an_address_in_use_is_said(serving: Serving) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError) as caught:
            serving.run(GrpcServer(serving.plane).start(f"127.0.0.1:{taken.getsockname()[1]}"))
        assert caught.value.code == "address_in_use"
