"""Writes the measured part of docs/statistics.md from docs/proof/verdicts.json: `python docs/make_statistics.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN = "<!-- measured: written by docs/make_statistics.py from docs/proof/verdicts.json -->\n"
END = "<!-- /measured -->\n"


_ALONE = {
    "fast swings": " of each arm (half a second)",
    "slow swings": " of each arm (10 s)",
    **{f"stalls of {seconds} s": " of each arm" for seconds in (1, 3, 5)},
}


def percent(share: float) -> str:
    """One digit after the point below 10 %."""
    return f"{share * 100:.1f}" if share < 0.0995 else f"{share * 100:.0f}"


def said(cell: dict[str, Any]) -> str:
    """Percent, and the median of candidate requests where most came to a verdict."""
    if cell["share"] < 0.5 or cell["median"] is None:
        return percent(cell["share"])
    return f"{percent(cell['share'])} ({cell['median']:,.0f})"


def rows(head: list[str], found: list[list[str]]) -> str:
    """A table of Markdown."""
    lines = ["| " + " | ".join(line) + " |" for line in [head, *found]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def render(document: dict[str, Any]) -> str:
    """All that stands between the two marks."""
    figures = document["figures"]
    head = f"""{document["date"]}, {figures["null_runs"]:,} rollouts for ×1 and {figures["harm_runs"]:,} else: a canary of 5 % of 200 requests a
second, a look a second, one hour, α = 0.05, one check. Percent of rollouts (median of candidate requests). *strict*: ρ = 1,
δ = 0. *margin*: ρ = 1.2, δ = 0.002. *naive*: z-test at 5 % each second; *peek*: each minute, Bonferroni; *end*: once. *Flagger*:
success ≥ 99 % per minute, five failed roll back, ten good promote; *Argo*: ten of them, the fourth failed aborts. Errors and
rejections (4xx) are this test with this margin.

"""
    last = [write(figures[name]) for name, write in _LAST.items()]
    return "\n".join([head + _table(figures), _more(figures), _power(figures["dependence"]), *last])


def _table(figures: dict[str, Any]) -> str:
    head = [
        "stable",
        "candidate",
        "strict failed",
        "margin failed / passed",
        "naive",
        "peek",
        "end",
        "Flagger",
        "Argo",
    ]
    body = []
    for row in figures["table"]:
        median = "–" if row["margin_median"] is None else f"{row['margin_median']:,.0f}"
        body.append(
            [
                f"{row['base'] * 100:g} %",
                f"×{row['times']:g}",
                said(row["strict_failed"]),
                f"{percent(row['margin_failed'])} / {percent(row['margin_passed'])} ({median})",
                *(said(row[name]) for name in ("naive", "peek", "end")),
                *(
                    f"{percent(row[name]['rolled_back']['share'])} back, {percent(row[name]['promoted'])} promoted"
                    for name in ("flagger", "argo")
                ),
            ]
        )
    return rows(head, body)


def _more(figures: dict[str, Any]) -> str:
    late, bursts, cold = figures["late_starts"], figures["bursts"], figures["cold_candidate"]
    body = [
        [
            f"harm exactly on the margin, {one['base'] * 100:g} % errors",
            f"failed {percent(one['failed'])}, passed {percent(one['passed'])} %",
        ]
        for one in figures["on_the_margin"]
    ]
    body += [
        [
            f"healthy, share 1 → 5 → 25 → 50 %, errors {one['errors'][0] * 100:g} → {one['errors'][1] * 100:g} %",
            f"strict failed {percent(one['strict_failed'])} %, pooled z-test {percent(one['pooled_z'])} %",
        ]
        for one in figures["ramps"]
    ]
    body.append(
        [
            "healthy, bursts of 30 % errors in both arms",
            f"strict failed {percent(bursts['strict_failed'])} % (naive {percent(bursts['naive'])}, peek {percent(bursts['peek'])} %)",
        ]
    )
    for one in figures["dependence"]:
        known = f", by the known size {percent(one['known_failed'])}" if "known_failed" in one else ""
        text = f"undivided {percent(one['raw_failed'])}, by φ {percent(one['phi_failed'])}{known} %"
        body.append([f"healthy, {one['kind']}{_ALONE.get(one['kind'], '')}", f"failed: {text}"])
    swings = figures["common_swings"]
    body.append(
        [
            "both arms swing together around 30 % (memory 10 s): healthy; ×1.5",
            f"strict failed, by φ, within 10 minutes: {percent(swings['healthy']['share'])}; {said(swings['worse'])} %",
        ]
    )
    body.append(
        [
            "late starts: healthy; ×5 after 30 minutes",
            f"failed {percent(late['healthy_failed'])} %; noticed after {late['late_median_s_after_fault']:.0f} s "
            f"(single start {late['single_median_s_after_fault']:.0f} s)",
        ]
    )
    for one in figures["within_looks"]:
        shares = ", ".join(percent(one[f"within_{looks}"]) for looks in (2, 3, 4))
        where = (
            f"20 % errors against 0.1 %, {one['requests_a_look']} canary requests a look, α {one['alpha']:g}"
        )
        body.append([where, f"failed within 2, 3, 4 looks: {shares} %"])
    body += [
        [
            f"p99 × 1.2, candidate ×{one['slower']:g} slower",
            f"failed {said(one['failed'])}, passed {said(one['passed'])}",
        ]
        for one in figures["latency"]
    ]
    body += [
        [
            f"p50 × 1.1, candidate ×{one['slower']:g} slower",
            f"failed {said(one['failed'])}, passed {said(one['passed'])}",
        ]
        for one in figures["median_latency"]
    ]
    body.append(
        [
            "healthy, 5 % errors in its first 30 s",
            f"failed {percent(cold['failed_with_the_cold_start'])} %, those seconds dropped {percent(cold['failed_without'])} %",
        ]
    )
    return rows(["more settings", "result"], body + _units(figures))


def _units(figures: dict[str, Any]) -> list[list[str]]:
    body = [
        [
            f"healthy, sticky arms, {one['users']:,} users of Zipf(1) traffic",
            f"failed: every request {percent(one['every_request_failed'])}, first per user {percent(one['first_per_user_failed'])} %",
        ]
        for one in figures["sticky_users"]
    ]
    body += [
        [
            f"the same {one['users']:,} users: a slice of the stable's against the rest",
            f"every request: tripped {percent(one['every_request_noticed'])}, failed before "
            f"{percent(one['every_request_failed_unnoticed'])}; first per user: tripped {percent(one['first_per_user_noticed'])} %",
        ]
        for one in figures["sticky_users"]
    ]
    body += [
        [
            f"first per user, {one['users']:,} users: healthy; ×3",
            f"strict failed {percent(one['healthy']['share'])}; {_within(one['worse'])} %",
        ]
        for one in figures["sticky_worse"]
    ]
    body += [
        [f"shadow, {one['limit'] * 100:g} % tolerated, {one['worse'] * 100:g} % disagree", both(one)]
        for one in figures["shadow"]
    ]
    body += [
        [
            f"labelled pairs, margin {one['limit'] * 100:g} points, only one wrong: candidate {one['worse'] * 100:g}, "
            f"stable {one['better'] * 100:g} %",
            both(one),
        ]
        for one in figures["labelled_pairs"]
    ]
    body += [
        [f"answers of 10 classes, margin 0.1, moved {one['moved']:g}", both(one)]
        for one in figures["answers"]
    ]
    return body


def both(found: dict[str, Any]) -> str:
    """How many fail and pass."""
    return f"failed {said(found['failed'])}, passed {said(found['passed'])} %"


def _power(found: list[dict[str, Any]]) -> str:
    text = """Harm under φ: *strict*, divided by φ, within half an hour; the candidate's errors (of the stalls: those between them) are
so many times the stable's. Percent failed (median of candidate requests).
"""
    body = [
        [one["kind"] + _ALONE.get(one["kind"], ""), *(said(worse) for worse in one["worse"])] for one in found
    ]
    return text + "\n" + rows(["dependence", *(f"×{one['times']:g}" for one in found[0]["worse"])], body)


def _shares(found: list[dict[str, Any]]) -> str:
    text = """Other shares of the traffic, 1 % errors, 20 minutes; looks wait until both arms have something in them.
"""
    body = []
    for one in found:
        healthy, border = one["healthy"], one["on_the_margin"]
        cells = healthy["strict_failed"], healthy["passed"], border["failed"], border["passed"]
        body.append([f"{one['share'] * 100:g} %", *map(said, cells)])
    head = [
        "share",
        "healthy: strict failed",
        "healthy: passed",
        "on the margin: failed",
        "on the margin: passed",
    ]
    return text + "\n" + rows(head, body)


def _accuracy(found: dict[str, Any]) -> str:
    canary = found["canary"]
    equal = (percent(canary[f"healthy_{name}"]) for name in ("strict", "naive", "peek"))
    text = """Labels of a canary, 20 a second for two hours, 15 % of the stable's wrong. With a share of 5 %, *strict*, one start: of equal
candidates {} % failed (naive {}, peek {}), of those with 17 % wrong {} (peek {}). With half of the traffic, a look every 5 s:
by one start, and the margin of one point also as a rollout holds it, with late starts, divided by φ, and in the first minute as for
clusters. Failed / passed (median of the candidate's labels).
""".format(*equal, said(canary["worse_strict"]), said(canary["worse_peek"]))
    body = [
        [
            f"{one['wrong'] * 100:g} %",
            said(one["strict"]),
            *(f"{said(one[name]['failed'])} / {said(one[name]['passed'])}" for name in ("once", "held")),
        ]
        for one in found["half"]
    ]
    head = ["candidate wrong", "strict failed", "margin of 1 point", "the same, in a rollout"]
    return text + "\n" + rows(head, body)


def _labels(found: list[dict[str, Any]]) -> str:
    text = """Labels (`quality`, `outcome` with `good`) at other rates of bad ones, half of the traffic, margin of 1 point, one start, up to
120,000 labels of each arm. Failed / passed (median of the candidate's labels).
"""
    points = sorted({one["more"] for one in found})
    cells = {(one["bad"], one["more"]): f"{said(one['failed'])} / {said(one['passed'])}" for one in found}
    body = [
        [f"{bad * 100:g} %", *(cells[bad, more] for more in points)]
        for bad in sorted({one["bad"] for one in found})
    ]
    head = ["bad of the stable's", *(_points(more) for more in points)]
    return text + "\n" + rows(head, body)


def _points(more: float) -> str:
    if more == 0:
        return "equal"
    return f"{more * 100:g} more" + (" (the margin)" if more == 0.01 else "")


def _kpi(found: list[dict[str, Any]]) -> str:
    text = """A KPI (`outcome` with `kpi`), half of the traffic: a fifth of the stable's users buys, for exponential amounts, capped at 4.6
times what a buyer spends on average; so many more of the candidate's buy. One start, a look every 800 values of each arm, up to 400,000.
Percent (median of values of each arm).
"""
    body = []
    for one in found:
        wanted = "at most 5 % less" if one["gain"] is None else f"gain of {one['gain'] * 100:g} %"
        more = (
            f"{abs(one['more']) * 100:g} % {'more' if one['more'] > 0 else 'less'}"
            if one["more"]
            else "equal"
        )
        body.append([wanted, more, said(one["failed"]), said(one["passed"])])
    return text + "\n" + rows(["asked", "truly", "failed", "passed"], body)


def _costs(found: list[dict[str, Any]]) -> str:
    text = """The mean of costs, log-normal (σ = 1.5), so many times the stable's, 30 minutes, a look each 5 s. Capped at the stable's p99, as shares of the cap;
*margin*: ρ = 1.1, as in a rollout (there requests over the cap are a second test, as of latency). *Asymptotic*: the means without a cap,
from 1,000 requests of each arm on, every 10 s; no check uses it.
"""
    body = [
        [
            f"×{one['times']:.3g}" + (" (capped ×1.1: the margin)" if one["on_the_margin"] else ""),
            *(said(one[name]) for name in ("strict_failed", "failed", "passed", "asymptotic_failed")),
        ]
        for one in found
    ]
    return (
        text + "\n" + rows(["costs", "strict failed", "margin failed", "margin passed", "asymptotic"], body)
    )


def _bake(found: dict[str, Any]) -> str:
    text = f"""The bake, 200 requests a second of 1 % errors: a limit of that very rate, asked for {found["asked_looks"]:,} looks between false alarms,
had one in {found["looks_between_alarms"]:,}. A rollout asks for a week of looks, and its limit is what an hour of the past allows, plus the margin:
{found["limit"] * 100:.3g} %; {percent(found["healthy_alarmed"])} % of healthy bakes of ten minutes alarmed. Found within ten minutes after
ten healthy ones, percent (median seconds):
"""
    body = [
        [f"×{one['times']:g}", *(_within(one[name]) for name in ("at_the_rate", "in_a_rollout"))]
        for one in found["risen"]
    ]
    return text + "\n" + rows(["errors", "limit 1 %, a day of looks", "in a rollout"], body)


def _within(cell: dict[str, Any]) -> str:
    if cell["share"] < 0.5 or cell["median_s"] is None:
        return percent(cell["share"])
    return f"{percent(cell['share'])} ({cell['median_s']:.0f} s)"


_LAST = {
    "shares": _shares,
    "accuracy": _accuracy,
    "labels": _labels,
    "kpi": _kpi,
    "cost": _costs,
    "bake": _bake,
}


if __name__ == "__main__":
    page = HERE / "statistics.md"
    before, rest = page.read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    measured = render(json.loads((HERE / "proof" / "verdicts.json").read_text("utf-8")))
    page.write_text(before + BEGIN + measured + END + after, "utf-8")
