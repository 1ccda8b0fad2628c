"""Raw requests and what a strict HTTP/1.1 server says to them: the tables of `test_http_conformance`."""

from __future__ import annotations

from typing import NamedTuple

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
END = b"0\r\n\r\n"

# name → bytes that must get one answer of status 400 (or 505, 501 where it says more) and a closed connection
REFUSED: dict[str, bytes] = {
    "r11-length-and-chunked": POST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    + END
    + SMUGGLED,
    "r11-chunked-and-length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
    + END
    + SMUGGLED,
    "r11-two-lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "r11-two-equal-lengths": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "r11-length-list": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "r11-length-plus": POST + b"Content-Length: +3\r\n\r\nabc",
    "r11-length-minus": POST + b"Content-Length: -3\r\n\r\nabc",
    "r11-length-hex": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "r11-length-underscore": POST + b"Content-Length: 1_0\r\n\r\nabcdefghij",
    "r11-length-empty": POST + b"Content-Length:\r\n\r\n",
    "r11-length-inner-space": POST + b"Content-Length: 1 2\r\n\r\nabc",
    "r11-length-overflow": POST + b"Content-Length: 184467440737095516170\r\n\r\nabc",
    "r11-xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + END,
    "r11-identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "r11-gzip-chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + END,
    "r11-chunked-gzip": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + END,
    "r11-chunked-list": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + END,
    "r11-chunked-twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + END,
    "r11-chunked-empty": POST + b"Transfer-Encoding:\r\n\r\n" + END,
    "r11-chunked-quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + END,
    "r11-chunked-vertical-tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + END,
    "r11-chunked-in-1.0": b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + END,
    "r11-chunk-size-hex": CHUNKED + b"0x3\r\nabc\r\n" + END,
    "r11-chunk-size-plus": CHUNKED + b"+3\r\nabc\r\n" + END,
    "r11-chunk-size-space": CHUNKED + b"3 \r\nabc\r\n" + END,
    "r11-chunk-size-empty": CHUNKED + b"\r\nabc\r\n" + END,
    "r11-chunk-size-overflow": CHUNKED + b"fffffffffffffffff\r\nabc\r\n" + END,
    "r11-chunk-size-lf": CHUNKED + b"3\nabc\r\n" + END,
    "r11-chunk-extension-lf": CHUNKED + b"3;a\nabc\r\n" + END,
    "r11-chunk-extension-nul": CHUNKED + b"3;a\0\r\nabc\r\n" + END,
    "r11-chunk-data-lf": CHUNKED + b"3\r\nabc\n" + END,
    "r11-chunk-data-long": CHUNKED + b"3\r\nabcd\r\n" + END,
    "r11-chunk-end": CHUNKED + b"0\r\n\rX",
    "r11-trailer-length": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n" + SMUGGLED,
    "r11-trailer-lf": CHUNKED + b"0\r\nX: a\n\r\n",
    "r11-fold-space": GET + b"X: a\r\n b\r\n\r\n",
    "r11-fold-tab": GET + b"X: a\r\n\tb\r\n\r\n",
    "r11-fold-first": b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n",
    "r11-fold-empty": GET + b"X:\r\n b\r\n\r\n",
    "r11-lf-everywhere": b"GET /x HTTP/1.1\nHost: a\n\n",
    "r11-lf-in-head": GET + b"X: y\nZ: w\r\n\r\n",
    "r11-lf-at-end": GET + b"\n",
    "r11-lf-after-line": b"GET /x HTTP/1.1\nHost: a\r\n\r\n",
    "r11-cr-in-value": GET + b"X: a\rb\r\n\r\n",
    "r11-space-before-colon": POST + b"Content-Length : 3\r\n\r\nabc",
    "r11-tab-before-colon": GET + b"X\t: a\r\n\r\n",
    "r11-nul-in-value": GET + b"X: a\0b\r\n\r\n",
    "r11-control-in-value": GET + b"X: a\x01b\r\n\r\n",
    "r11-delete-in-value": GET + b"X: a\x7fb\r\n\r\n",
    "r11-nul-in-name": GET + b"X\0: a\r\n\r\n",
    "r11-high-byte-in-name": GET + b"X\xff: a\r\n\r\n",
    "r11-empty-name": GET + b": a\r\n\r\n",
    "r11-no-colon": GET + b"Xabc\r\n\r\n",
    "r11-nul-in-target": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "r11-control-in-target": b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "r11-delete-in-target": b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
    "r12-no-host": b"GET /x HTTP/1.1\r\n\r\n",
    "r12-two-hosts": GET + b"Host: b\r\n\r\n",
    "r12-two-equal-hosts": GET + b"Host: a\r\n\r\n",
    "r12-two-hosts-1.0": b"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "r12-host-with-path": b"GET /x HTTP/1.1\r\nHost: a/health?x=\r\n\r\n",
    "r12-host-with-user": b"GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "r12-host-with-space": b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
    "r12-host-list": b"GET /x HTTP/1.1\r\nHost: a:80:90\r\n\r\n",
    "r12-host-empty": b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
    "r12-target-names-other-host": b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "r12-target-with-user": b"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "r12-target-without-host": b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
    "r12-target-of-other-scheme": b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "r12-target-with-fragment": b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n",
    "r12-target-star": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "r12-target-relative": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    "r21-http-0.9": b"GET /x\r\n\r\n",
    "r21-version-0.9": b"GET /x HTTP/0.9\r\n\r\n",
    "r21-version-2.0": b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
    "r21-version-1.2": b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n",
    "r21-version-lower-case": b"GET /x http/1.1\r\nHost: a\r\n\r\n",
    "r21-grpc": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "r21-tls-hello": b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03" + bytes(range(64)),
    "r21-garbage": b"\x00\x01\x02\x03garbage\r\n\r\n",
    "r21-text": b"hello there\r\n\r\n",
    "r21-tab-in-request-line": b"GET\t/x\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "r21-lower-case-method": b"get /x HTTP/1.1\r\nHost: a\r\n\r\n",
}


class Accepted(NamedTuple):
    """Bytes, and the answers to them: (status, body) in order; whether the connection is closed after them."""

    raw: bytes
    answers: tuple[tuple[int, bytes], ...]
    closed: bool = False


ACCEPTED: dict[str, Accepted] = {
    "get": Accepted(GET + b"\r\n", ((200, b"GET /x "),)),
    "length": Accepted(POST + b"Content-Length: 3\r\n\r\nabc", ((200, b"POST /x abc"),)),
    "length-zero": Accepted(POST + b"Content-Length: 0\r\n\r\n", ((200, b"POST /x "),)),
    "length-spaces": Accepted(POST + b"Content-Length: \t3 \t\r\n\r\nabc", ((200, b"POST /x abc"),)),
    "chunked": Accepted(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n" + END, ((200, b"POST /x abcde"),)),
    "chunked-upper-case": Accepted(
        POST + b"Transfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n" + END, ((200, b"POST /x 0123456789"),)
    ),
    "chunked-extension": Accepted(
        CHUNKED + b'3;a=b;c="d"\r\nabc\r\n' + END + GET + b"\r\n", ((200, b"POST /x abc"), (200, b"GET /x "))
    ),
    "chunked-trailer": Accepted(
        CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\nHost: b\r\n\r\n" + GET + b"\r\n",
        ((200, b"POST /x abc"), (200, b"GET /x ")),
    ),
    "get-with-body": Accepted(
        GET + b"Content-Length: 3\r\n\r\nabc" + GET + b"\r\n", ((200, b"GET /x abc"), (200, b"GET /x "))
    ),
    "keep-alive-after-empty-line": Accepted(
        GET + b"\r\n\r\n" + GET + b"\r\n", ((200, b"GET /x "), (200, b"GET /x "))
    ),
    "pipeline": Accepted(
        b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(5)),
        tuple((200, b"GET /%d " % n) for n in range(5)),
    ),
    "pipeline-order": Accepted(
        b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + POST + b"Content-Length: 3\r\n\r\nabc" + GET + b"\r\n",
        ((200, b"slow"), (200, b"POST /x abc"), (200, b"GET /x ")),
    ),
    "pipeline-behind-stream": Accepted(
        b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n",
        ((200, b"one two three"), (200, b"GET /x ")),
    ),
    "close": Accepted(GET + b"Connection: close\r\n\r\n", ((200, b"GET /x "),), closed=True),
    "close-hides-the-rest": Accepted(
        GET + b"Connection: close\r\n\r\n" + SMUGGLED, ((200, b"GET /x "),), closed=True
    ),
    "1.0": Accepted(b"GET /x HTTP/1.0\r\n\r\n", ((200, b"GET /x "),), closed=True),
    "1.0-keep-alive": Accepted(
        b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2, ((200, b"GET /x "), (200, b"GET /x "))
    ),
    "1.0-stream": Accepted(
        b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ((200, b"one two three"),), closed=True
    ),
    "options-star": Accepted(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ((200, b"OPTIONS * "),)),
    "absolute-target": Accepted(b"GET http://A:80/x?q HTTP/1.1\r\nHost: a:80\r\n\r\n", ((200, b"GET /x "),)),
    "absolute-target-without-path": Accepted(
        b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", ((200, b"GET / "),)
    ),
    "host-ipv6": Accepted(b"GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", ((200, b"GET /x "),)),
    "high-byte-in-value": Accepted(GET + b"X: \xe4\xff\r\n\r\n", ((200, b"GET /x "),)),
    "upgrade-is-not-done": Accepted(
        GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", ((200, b"GET /x "),), closed=True
    ),
    "upgrade-with-body": Accepted(
        POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
        ((200, b"POST /x abc"),),
        closed=True,
    ),
    "upgrade-with-chunks": Accepted(
        POST
        + b"Connection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        + END
        + SMUGGLED,
        ((200, b"POST /x abc"),),
        closed=True,
    ),
}


# What uvicorn fails of the rows that need no setting that uvicorn would have. (It has no limit of a body, of a slow request or of a slow reader.)
UVICORN_FAILS: dict[str, frozenset[str]] = {
    "httptools": frozenset(
        [
            "r11-gzip-chunked",
            "r11-chunked-in-1.0",
            "r12-no-host",
            "r12-two-hosts",
            "r12-two-equal-hosts",
            "r12-two-hosts-1.0",
            "r12-host-with-path",
            "r12-host-with-user",
            "r12-host-with-space",
            "r12-host-list",
            "r12-host-empty",
            "r12-target-names-other-host",
            "r12-target-with-user",
            "r12-target-of-other-scheme",
            "r12-target-with-fragment",
            "r12-target-star",
            "r21-http-0.9",
            "r21-version-0.9",
            "r21-version-2.0",
            "absolute-target-without-path",
            "upgrade-with-body",
            "upgrade-with-chunks",
            "r14_half_head",
            "r14_half_body",
            "r14_dripped_body",
            "r15_client_does_not_read_a_stream",
            "continue_is_not_said_in_1_0",
            "other_expectations_are_refused",
            "half_closed_client_is_answered",
        ]
    ),
    "h11": frozenset(
        [
            "r11-length-and-chunked",
            "r11-chunked-and-length",
            "r11-two-equal-lengths",
            "r11-length-list",
            "r11-chunked-in-1.0",
            "r11-chunk-size-space",
            "r11-chunk-extension-nul",
            "r11-trailer-length",
            "r11-trailer-lf",
            "r11-fold-space",
            "r11-fold-tab",
            "r11-fold-empty",
            "r11-lf-everywhere",
            "r11-lf-in-head",
            "r11-lf-at-end",
            "r11-lf-after-line",
            "r11-control-in-value",
            "r11-delete-in-value",
            "r12-host-with-path",
            "r12-host-with-user",
            "r12-host-with-space",
            "r12-host-list",
            "r12-host-empty",
            "r12-target-names-other-host",
            "r12-target-with-user",
            "r12-target-without-host",
            "r12-target-of-other-scheme",
            "r12-target-with-fragment",
            "r12-target-star",
            "r12-target-relative",
            "r21-version-0.9",
            "r21-version-2.0",
            "r21-version-1.2",
            "r21-grpc",
            "r21-lower-case-method",
            "absolute-target",
            "absolute-target-without-path",
            "upgrade-with-body",
            "upgrade-with-chunks",
            "r14_half_head",
            "r14_half_body",
            "r14_dripped_body",
            "r15_client_does_not_read_a_stream",
            "other_expectations_are_refused",
            "half_closed_client_is_answered",
        ]
    ),
}
