"""What one connection may cost: sizes and times, one value per server."""

from __future__ import annotations

import msgspec


class TransportLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of every connection of a server; times are kept by the sweep, so they hold to within `sweep_s`.

    `head_s` runs from the first byte of a request; `body_idle_s` from the last byte of its body. A body, or an
    answer that a client takes, slower than `slowest_bytes_per_s` (after `body_idle_s`, within `write_stall_s`) ends
    the connection. `write_high_water_bytes` is what may wait to be sent before reading stops; `pipeline_depth` is
    how many requests of one connection the application holds at once. After an early refusal the rest of the request
    is read and dropped, `linger_s` long and up to `linger_bytes`, so that the refusal is not lost to a reset.
    """

    head_bytes: int = 32 * 1024
    head_s: float = 10.0
    body_idle_s: float = 10.0
    slowest_bytes_per_s: float = 512.0
    keep_alive_s: float = 75.0
    write_stall_s: float = 10.0
    write_high_water_bytes: int = 256 * 1024
    pipeline_depth: int = 32
    connections: int = 10_000
    linger_s: float = 2.0
    linger_bytes: int = 64 * 1024 * 1024
    sweep_s: float = 0.5
