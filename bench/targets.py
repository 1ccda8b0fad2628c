"""The targets that Seaway set out with, each with what was measured. Free of effects; `report` calls it."""

from __future__ import annotations

from typing import Final

from bench import catalogue, figures
from bench.bodies import Form
from bench.figures import Measured, Target

HTTP: Final = frozenset(Form) - {Form.OIP_GRPC}
_WITHOUT_BATCHING: Final = "seaway, max_rows 1"


def all_targets(measured: list[Measured]) -> list[Target]:
    """Every row, measured or not."""
    return [
        *_small(measured),
        *_heavy_and_conv(measured),
        *_images_and_grpc(measured),
        *_open_loop(measured),
        *_process(measured),
    ]


def _small(measured: list[Measured]) -> list[Target]:
    ours = _ours(measured, "small")
    limit = ours.limit if ours else None
    one, many = (ours.at(1), ours.at(64)) if ours else (None, None)
    added = one.p50_ms * 1000 - limit.single_p50_us if one and limit else None
    share = many.per_s / limit.single_per_s if many and limit else None
    return [
        _at_least("small, JSON, 64 connections, ÷ session.run loop", share, 0.45),
        _against_best(measured, "small", Form.OIP_JSON, 64, 10),
        _against_best(measured, "small", Form.OIP_JSON, 1, 5),
        _at_most("small, JSON, 1 connection, added latency, µs p50", added, 100),
    ]


def _heavy_and_conv(measured: list[Measured]) -> list[Target]:
    heavy = _ours(measured, "heavy")
    many = heavy.at(64) if heavy else None
    share = many.per_s / heavy.limit.rows64_per_s if heavy and many and heavy.limit else None
    conv = _ours(measured, "conv")
    plain = figures.find(measured, _WITHOUT_BATCHING, "conv", Form.OIP_JSON)
    on = conv.at(64) if conv else None
    off = plain.at(64) if plain else None
    return [
        _against_best(measured, "heavy", Form.OIP_JSON, 64, 2),
        _at_least("heavy, JSON, 64 connections, ÷ session.run loop at batch 64", share, 0.85),
        # 5 % for noise: two runs of the same set-up differ by as much
        _at_least("conv, batching on ÷ off", on.per_s / off.per_s if on and off else None, 0.95),
    ]


def _images_and_grpc(measured: list[Measured]) -> list[Target]:
    return [
        _against_best(measured, "img", Form.OIP_JSON, 16, 3, HTTP - {Form.OIP_BINARY}),
        _against_best(measured, "img", Form.OIP_BINARY, 16, 10, frozenset({Form.OIP_BINARY})),
        _against_best(measured, "small", Form.OIP_GRPC, 64, 1, frozenset({Form.OIP_GRPC})),
    ]


def _open_loop(measured: list[Measured]) -> list[Target]:
    rows = []
    for work in ("small", "heavy"):
        ours = _ours(measured, work)
        peak = ours.peak_per_s if ours else None
        opened = {o.factor: o for o in ours.opened} if ours else {}
        calm = opened.get(0.8)
        tail = calm.p99_ms / calm.p50_ms if calm and calm.p99_ms and calm.p50_ms else None
        rows.append(_at_most(f"{work}, Poisson at 80 % of capacity, p99 ÷ p50", tail, 3))
        for factor in (2.0, 5.0):
            at = opened.get(factor)
            kept = at.goodput_per_s / peak if at and peak else None
            rows.append(_at_least(f"{work}, offered {factor:.0f} × capacity, goodput ÷ peak", kept, 0.85))
    return rows


def _process(measured: list[Measured]) -> list[Target]:
    ours = _ours(measured, "small")
    return [
        _at_most("small, memory, summed PSS in MiB", ours.pss_mb if ours else None, 150),
        _at_most("small, start to first right answer, s", ours.cold_start_s if ours else None, 1),
    ]


def _against_best(
    measured: list[Measured],
    work: str,
    form: Form,
    connections: int,
    times: float,
    forms: frozenset[Form] = HTTP,
) -> Target:
    best = figures.best_peer(measured, work, connections, forms)
    ours = figures.find(measured, catalogue.SEAWAY, work, form)
    at = ours.at(connections) if ours else None
    name = "gRPC" if form is Form.OIP_GRPC else str(form).upper() if form is Form.OIP_JSON else str(form)
    rival = f"{best[0]}, {best[1]:,.0f}/s" if best else "none measured"
    row = f"{work}, {name}, {connections} in flight, ÷ best peer ({rival})"
    return _at_least(row, at.per_s / best[1] if at and best else None, times)


def _ours(measured: list[Measured], work: str) -> Measured | None:
    return figures.find(measured, catalogue.SEAWAY, work, Form.OIP_JSON)


def _at_least(row: str, value: float | None, bound: float) -> Target:
    return Target(row, f"≥ {bound:g}", _short(value), None if value is None else value >= bound)


def _at_most(row: str, value: float | None, bound: float) -> Target:
    return Target(row, f"≤ {bound:g}", _short(value), None if value is None else value <= bound)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
