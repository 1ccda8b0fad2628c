"""No request is lost while versions change: an open-loop load over switches and rollbacks of a real server.

The generator opens its own sockets, never retries and counts latency from the time a request was due. Two versions
answer differently, so an answer tells which of them gave it: each is checked against the revision that it names.
"""

from __future__ import annotations

REQUESTS = 20_000
SWITCHES = 50
RATE_PER_S = 200.0
CONNECTIONS = 16
