"""Bad requests against a real worker: each gets its 4xx with code, hint and request id, and the worker lives on."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator

import pytest
from serve_process import JSON, Answer, WorkerProcess, revision, route, until

from seaway.core.traffic import Limits, RoutingTable
from seaway.testing import tiny_models

LIMIT = 4096
CODES_OF_R02 = (
    "invalid_json",
    "invalid_request",
    "wrong_dtype",
    "wrong_shape",
    "unknown_input",
    "missing_input",
)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    home = tmp_path_factory.mktemp("attacks")
    broken = tiny_models.linear(home / "broken", 0.0)
    (home / "broken" / "model.onnx").write_bytes(b"not what the manifest says")
    table = RoutingTable(
        1,
        (
            route("prices", revision(3, tiny_models.linear(home / "m", 10.0))),
            route("words", revision(1, tiny_models.lookup(home / "w"))),
            route(
                "small", revision(1, tiny_models.linear(home / "m", 10.0)), limits=Limits(60.0, 60.0, LIMIT)
            ),
            route("slow", revision(1, tiny_models.endless(home / "e")), limits=Limits(deadline_s=0.3)),
            route("broken", revision(1, broken)),
        ),
    )
    process = WorkerProcess(home / "run", table)
    yield process
    assert process.stop() == 0, process.log.read_text()


@pytest.fixture(autouse=True)
def _still_answers(worker: WorkerProcess) -> Iterator[None]:
    yield
    answer = worker.call("POST", "/predict/prices", [[1, 2, 3]])
    assert (answer.status, answer.json) == (200, {"predictions": [16.0]})


def refused(answer: Answer, status: int, code: str, *words: str) -> None:
    assert answer.status == status, answer.body
    body = answer.json
    assert body["code"] == code, body
    assert body["request_id"] == answer.headers["x-request-id"] != ""
    text = body["error"] + (body.get("hint") or "")
    for word in words:
        assert word in text, text
    assert not re.search(r"Traceback|/tmp|/home|\.py\b|0x[0-9a-f]{6}|onnxruntime", answer.body.decode())


def tensor(**changes: object) -> dict[str, object]:
    return {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3], **changes}


DOORS = ["/predict/prices", "/v2/models/prices/infer", "/v2/models/prices/versions/3/infer"]


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "empty"),
        (b"hello", "not JSON"),
        (b'\xef\xbb\xbf{"instances":[[1,2,3]]}', "byte order mark"),
        (b'{"id":"\xff"}', "UTF-8"),
        (b'{"id":"\\ud800","instances":[]}', "not JSON"),
        (b'{"id":"a"', "not JSON"),
        (b'{"id":"a","inputs":[]} {}', "not JSON"),
    ],
)
def test_r01_not_json(worker: WorkerProcess, path: str, body: bytes, word: str) -> None:
    refused(worker.call("POST", path, body), 400, "invalid_json", word)


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"inputs":[', b'{"parameters":{"a":'])
def test_r02_nesting_bomb_is_refused(worker: WorkerProcess, path: str, opening: bytes) -> None:
    answer = worker.call("POST", path, opening * 100_000)
    assert answer.status == 400
    assert answer.json["code"] in ("invalid_json", "invalid_request")


@pytest.mark.parametrize("depth", [100, 400, 600, 900, 1500, 5000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
def test_r02_deep_but_whole_documents_never_fault(
    worker: WorkerProcess, opening: bytes, closing: bytes, depth: int
) -> None:
    deep = opening * depth + b"1" + closing * depth
    for rows in (b"[%s]" % deep, b'{"instances":[[1,2,3],%s]}' % deep):
        answer = worker.call("POST", "/predict/prices", rows)
        assert (answer.status, answer.json["code"] in CODES_OF_R02) == (400, True), answer.body
    tensors = b'"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":%s,"parameters":%s}]'
    for path in DOORS[1:]:
        answer = worker.call("POST", path, b"{%s}" % tensors % (b"[1,2,%s]" % deep, b"{}"))
        assert (answer.status, answer.json["code"] in CODES_OF_R02) == (400, True), answer.body
        for body in (
            b'{%s,"parameters":{"p":%s}}' % (tensors % (b"[1,2,3]", b"{}"), deep),
            b"{%s}" % tensors % (b"[1,2,3]", b'{"p":%s}' % deep),
        ):
            answer = worker.call("POST", path, body)
            if answer.status == 200:
                assert depth < 1500
                assert answer.json["outputs"][0]["data"] == [16.0]
            else:
                refused(answer, 400, "invalid_json", "nested too deeply")
                assert depth > 400
    assert "RecursionError" not in worker.log.read_text()


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1" * 100_000, b"-1e400"])
def test_r03_numbers_that_json_does_not_have(worker: WorkerProcess, value: bytes) -> None:
    refused(worker.call("POST", "/predict/prices", b'{"instances":[[1,2,%s]]}' % value), 400, "invalid_json")
    body = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,%s]}]}' % value
    refused(worker.call("POST", "/v2/models/prices/infer", body), 400, "invalid_json")


def test_r03_a_number_that_fp32_does_not_hold(worker: WorkerProcess) -> None:
    refused(
        worker.call("POST", "/predict/prices", [[1, 2, 3], [1, 2, 1e39]]),
        400,
        "invalid_value",
        "row 1",
        "'c'",
        "FP32",
    )
    refused(
        worker.call("POST", "/predict/prices", b"[[1,2,1%s]]" % (b"0" * 400)), 400, "invalid_value", "'c'"
    )


def test_r04_duplicates(worker: WorkerProcess) -> None:
    oip = "/v2/models/prices/infer"
    refused(worker.call("POST", oip, {"inputs": [tensor(), tensor()]}), 400, "duplicate_input", "'x'")
    whole = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}'
    assert worker.call("POST", oip, whole).status == 200
    for body in (
        whole.replace(b'"inputs"', b'"inputs":[],"inputs"'),
        whole.replace(b'"name":"x"', b'"name":"y","name":"x"'),
        whole.replace(b'"data"', b'"data":[9,9,9],"data"'),
        whole.replace(b'"inputs"', b'"parameters":{"a":1,"a":2},"inputs"'),
    ):
        refused(worker.call("POST", oip, body), 400, "duplicate_input", "twice")
    refused(
        worker.call("POST", "/predict/prices", b'[{"a":1,"b":2,"c":3,"a":4}]'), 400, "duplicate_input", "'a'"
    )


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"datatype": "FP64"}, "wrong_dtype", ["'x'", "FP64", "FP32[N,3]"]),
        ({"datatype": "float"}, "wrong_dtype", ["'x'", "float", "FP32[N,3]"]),
        ({"shape": [1, 4], "data": [1, 2, 3, 4]}, "wrong_shape", ["'x'", "[1, 4]", "FP32[N,3]"]),
        ({"shape": [3]}, "wrong_shape", ["[3]", "FP32[N,3]"]),
        ({"shape": [-1, 3]}, "wrong_shape", ["-1"]),
        ({"shape": [2**40, 3]}, "wrong_shape", ["3 values"]),
        ({"data": [1, 2]}, "wrong_shape", ["2 values", "3"]),
        ({"shape": [2, 3], "data": [[1, 2, 3], [1, 2]]}, "wrong_shape", ["2 elements"]),
        ({"shape": [2, 3], "data": [[1, 2, 3], 4]}, "wrong_shape", ["a whole number"]),
        ({"data": [[[1, 2, 3]]]}, "wrong_shape", ["1 elements"]),
        ({"data": [1, "2", 3]}, "wrong_dtype", ["value 1", "a string", "a number"]),
        ({"data": [1, 2, True]}, "wrong_dtype", ["value 2", "a boolean"]),
        ({"data": [1, None, 3]}, "invalid_value", ["value 1", "null"]),
        ({"name": "z"}, "unknown_input", ["'z'", "x"]),
        ({"data": None}, "missing_input", ["'x'", "no data"]),
        ({"data": None, "parameters": {"binary_data_size": 12}}, "invalid_request", ["binary_data=False"]),
        ({"extra": 1}, "invalid_request", ["extra"]),
        ({"shape": "1,3"}, "invalid_request", ["shape"]),
    ],
)
def test_r06_wrong_tensor(
    worker: WorkerProcess, changes: dict[str, object], code: str, words: list[str]
) -> None:
    refused(
        worker.call("POST", "/v2/models/prices/infer", {"inputs": [tensor(**changes)]}), 400, code, *words
    )


def test_r06_missing_and_extra_inputs(worker: WorkerProcess) -> None:
    refused(worker.call("POST", "/v2/models/prices/infer", {"inputs": []}), 400, "missing_input", "'x'")
    refused(worker.call("POST", "/v2/models/prices/infer", {}), 400, "invalid_request", "inputs")
    wanted = {"inputs": [tensor()], "outputs": [{"name": "nothing"}]}
    refused(worker.call("POST", "/v2/models/prices/infer", wanted), 400, "invalid_request", "nothing", "y")
    index = {"name": "index", "shape": [2], "datatype": "INT64", "data": [0, 1]}
    name = {"name": "name", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    refused(
        worker.call("POST", "/v2/models/words/infer", {"inputs": [index, name]}),
        400,
        "wrong_shape",
        "'name'",
        "1 rows",
    )
    refused(
        worker.call("POST", "/v2/models/words/infer", {"inputs": [index]}), 400, "missing_input", "'name'"
    )
    big = index | {"data": [0, 2**63]}
    refused(
        worker.call("POST", "/v2/models/words/infer", {"inputs": [big, name]}),
        400,
        "invalid_value",
        "value 1",
        "INT64",
    )


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ([[1, 2, 3], [1, 2]], "wrong_shape", ["row 1", "2 values", "expected 3", "a, b, c"]),
        ([[1, 2, 3], {"a": 1, "b": 2}], "missing_input", ["row 1", "'c'"]),
        ([{"a": 1, "b": 2, "c": 3, "d": 4}], "unknown_input", ["row 0", "'d'"]),
        ([{"a": 1, "b": "x", "c": 3}], "wrong_dtype", ["row 0", "'b'", "a string", "a number"]),
        ([[1, 2, None]], "invalid_value", ["row 0", "'c'", "null"]),
        ([7], "invalid_request", ["row 0", "a whole number"]),
        ([], "invalid_request", ["no rows"]),
        ({"instances": {}}, "invalid_request", ["an object"]),
        ({"rows": []}, "invalid_request", ["rows"]),
        ("text", "invalid_request", ["a string"]),
    ],
)
def test_r06_wrong_rows(worker: WorkerProcess, body: object, code: str, words: list[str]) -> None:
    refused(worker.call("POST", "/predict/prices", body), 400, code, *words)


def test_r07_a_body_one_byte_too_large(worker: WorkerProcess) -> None:
    fits = b"[[1,2,3]" + b" " * (LIMIT - 9) + b"]"
    assert len(fits) == LIMIT
    assert worker.call("POST", "/predict/small", fits).status == 200
    refused(worker.call("POST", "/predict/small", fits + b" "), 413, "body_too_large", "4,096")


def test_r07_too_large_by_its_length_is_refused_before_a_byte_is_read(worker: WorkerProcess) -> None:
    with socket.create_connection(("127.0.0.1", worker.port), 60) as connection:
        head = f"POST /predict/small HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {10**12}\r\n\r\n"
        connection.sendall(head.encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 413
        assert b"body_too_large" in response.read()


def test_r07_an_endless_chunked_body_is_cut_off(worker: WorkerProcess) -> None:
    with socket.create_connection(("127.0.0.1", worker.port), 60) as connection:
        connection.sendall(
            b"POST /predict/small HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        connection.sendall(
            b"1000\r\n" + b" " * 0x1000 + b"\r\n1\r\n \r\n"
        )  # the limit and one byte, and no end
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 413
        assert b"body_too_large" in response.read()


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "gzip, gzip", "none-such"])
def test_r08_compressed_bodies(worker: WorkerProcess, encoding: str) -> None:
    headers = JSON | {"content-encoding": encoding}
    refused(
        worker.call("POST", "/predict/prices", b"\x1f\x8b", headers), 415, "unsupported_media_type", encoding
    )


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.bentoml+pickle",
        "application/x-pickle",
        "application/octet-stream",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "text/plain",
    ],
)
@pytest.mark.parametrize("path", DOORS)
def test_r10_other_media_types(worker: WorkerProcess, path: str, media_type: str) -> None:
    answer = worker.call("POST", path, b"\x80\x04.", {"content-type": media_type})
    refused(answer, 415, "unsupported_media_type", media_type.split(";")[0], "application/json")


def test_r20_what_is_not_there(worker: WorkerProcess) -> None:
    body = {"inputs": [tensor()]}
    refused(worker.call("POST", "/v2/models/none/infer", body), 404, "endpoint_not_found", "'none'", "prices")
    refused(worker.call("POST", "/predict/none", [[1, 2, 3]]), 404, "endpoint_not_found")
    refused(
        worker.call("POST", "/v2/models/prices/versions/9/infer", body), 404, "revision_not_found", "9", "3"
    )
    refused(worker.call("POST", "/v2/models/prices/versions/v3/infer", body), 404, "revision_not_found")
    refused(worker.call("GET", "/v2/models/none"), 404, "endpoint_not_found")
    refused(worker.call("GET", "/nowhere"), 404, "route_not_found")
    refused(worker.call("GET", "/v2/"), 404, "route_not_found")
    refused(worker.call("POST", "/predict/..%2fprices", [[1, 2, 3]]), 404, "route_not_found")
    wrong = worker.call("GET", "/predict/prices")
    refused(wrong, 405, "method_not_allowed", "POST")
    assert wrong.headers["allow"] == "POST, OPTIONS"
    assert worker.call("DELETE", "/v2").status == 405


def test_r20_a_revision_that_did_not_load_answers_503(worker: WorkerProcess) -> None:
    for answer in (
        worker.call("POST", "/predict/broken", [[1, 2, 3]]),
        worker.call("GET", "/v2/models/broken/ready"),
        worker.call("GET", "/v2/health/ready"),
    ):
        refused(answer, 503, "not_ready")
        assert int(answer.headers["retry-after"]) >= 1
    assert worker.call("GET", "/v2/health/live").status == 200
    loaded = {item.endpoint: item for item in worker.observe().loaded}
    assert loaded["broken"].error_code == "digest_mismatch"
    assert not loaded["broken"].ready


def test_a_failing_model_answers_plainly_and_logs_one_line(worker: WorkerProcess) -> None:
    answer = worker.call(
        "POST", "/predict/words", [{"index": 99, "name": "n"}], JSON | {"x-request-id": "find-me"}
    )
    refused(answer, 500, "execution_failed", "Gather")
    lines = [line for line in worker.log.read_text().splitlines() if "find-me" in line]
    assert len(lines) == 1
    assert '"error.code":"execution_failed"' in lines[0]


def test_a_model_that_does_not_end_is_stopped_at_the_deadline(worker: WorkerProcess) -> None:
    refused(worker.call("POST", "/predict/slow", [[1e9]]), 504, "deadline_exceeded", "0.3")
    # That is quick, but 0.3 s are not much on a machine under load.
    until(lambda: worker.call("POST", "/predict/slow", [[3]]).json == {"predictions": [6.0]})
