"""Heads that a server has read before: it answers as one that has never seen them, whatever comes in which segments."""

from __future__ import annotations

import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from test_transport_fuzz import CHUNKED, LIMITS, Echo, cuts, mutants, requests, serve, talk

from seaway.transport.server import HttpServer

# What may stand between two requests, and the pieces that a body or a head could be mistaken for.
BITS = (
    b"\r\n",
    b"\r",
    b"\n",
    b"GET ",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n",
    CHUNKED,
    b"5\r\nabcde\r\n",
    b"0\r\n\r\n",
    b"0\r\nX: y\r\n",
)


@given(st.data(), cuts)
@settings(max_examples=150)
def test_known_heads_change_no_answer(data: st.DataObject, cuts: list[int]) -> None:
    known = data.draw(st.lists(requests(), min_size=1, max_size=3))
    piece = st.one_of(st.sampled_from(known), st.sampled_from(known), mutants(), st.sampled_from(BITS))
    pieces = data.draw(st.lists(piece, min_size=1, max_size=6))
    raw = b"".join(pieces)
    ends = [end for end in itertools.accumulate(map(len, pieces)) if data.draw(st.booleans())]
    edges = sorted({0, len(raw), *ends, *(place % (len(raw) + 1) for place in cuts[:2])})

    async def answers() -> tuple[bytes, bool]:
        server = HttpServer(Echo(), LIMITS)
        for request in known:
            talk(server, [request])
        return talk(server, [raw[a:b] for a, b in itertools.pairwise(edges)])

    assert asyncio.run(answers()) == serve([raw])
