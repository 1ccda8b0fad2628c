"""Every metric family that `/metrics` shows: one table, read by what counts, and by the rules and dashboards made of it.

The names and labels are part of the contract with users: a family is never renamed, and a label is only added.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from seaway.wire.prometheus import Family

REQUEST_BUCKETS_S: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper edges of `seaway_request_duration_seconds`; latency objectives are counted by them."""

REVISION: Final = ("endpoint", "revision", "worker")
_REQUEST: Final = ("door", "endpoint", "revision", "code", "worker")
_CONTROL: Final = "where a control process runs"
_ROLLED: Final = "where an endpoint has had a rollout"
Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One family. `unit` is what a value is a number of; `only` says when a worker has it, "" where always.

    A histogram's series also have the label `le`.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    only: str = ""

    def family(self) -> Family:
        """An empty Family to fill."""
        return Family(self.name, self.kind, self.help, [])

    @property
    def series(self) -> tuple[str, ...]:
        """The names that its samples have in queries."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


REQUESTS: Final = Metric("seaway_requests_total", "counter", "requests", _REQUEST, "Answered requests.")
REQUEST_DURATION: Final = Metric(
    "seaway_request_duration_seconds",
    "histogram",
    "seconds",
    _REQUEST,
    "Time from a prediction's head to its answer.",
)
ANSWERS: Final = Metric(
    "seaway_answers_total",
    "counter",
    "rows",
    ("endpoint", "revision", "answer", "worker"),
    "Answered rows by class.",
    only="for models whose answer is a class",
)
IN_FLIGHT: Final = Metric(
    "seaway_requests_in_flight", "gauge", "requests", REVISION, "Requests that are being answered."
)
BATCH_ROWS: Final = Metric("seaway_batch_rows", "histogram", "rows", REVISION, "Rows in an executed batch.")
BATCH_DURATION: Final = Metric(
    "seaway_batch_duration_seconds", "histogram", "seconds", REVISION, "Time that a batch took in the model."
)
QUEUE_DURATION: Final = Metric(
    "seaway_queue_duration_seconds",
    "histogram",
    "seconds",
    REVISION,
    "Time from a request's head to its run.",
)
QUEUED_ROWS: Final = Metric("seaway_queued_rows", "gauge", "rows", REVISION, "Rows that wait for the model.")
STREAMS_OPEN: Final = Metric(
    "seaway_streams_open", "gauge", "streams", REVISION, "Streamed answers under way."
)
LANE: Final = Metric(
    "seaway_lane", "gauge", "0 or 1", (*REVISION, "lane"), "Whether this lane runs the model now."
)
BATCH_FIXED: Final = Metric(
    "seaway_batch_fixed_seconds",
    "gauge",
    "seconds",
    REVISION,
    "Learned: what a batch takes besides its rows.",
)
BATCH_ROW: Final = Metric(
    "seaway_batch_row_seconds",
    "gauge",
    "seconds",
    REVISION,
    "Learned: what one more row of a batch takes.",
)
REVISION_READY: Final = Metric(
    "seaway_revision_ready",
    "gauge",
    "0 or 1",
    ("endpoint", "revision", "digest", "worker"),
    "Whether the worker's revision can answer.",
)
REVISION_ISOLATED: Final = Metric(
    "seaway_revision_isolated", "gauge", "0 or 1", REVISION, "Whether the model has a process of its own."
)
REVISION_START: Final = Metric(
    "seaway_revision_start_seconds",
    "gauge",
    "seconds",
    (*REVISION, "phase"),
    "What loading the revision took, by phase.",
)
REVISION_MEMORY: Final = Metric(
    "seaway_revision_memory_bytes",
    "gauge",
    "bytes",
    REVISION,
    "What the worker grew by when it was loaded.",
)
GENERATION: Final = Metric(
    "seaway_routing_generation",
    "gauge",
    "generation",
    ("worker",),
    "Generation of the worker's routing table.",
)
WORKERS: Final = Metric("seaway_workers", "gauge", "workers", (), "Workers that answered this scrape.")
WORKER_MEMORY: Final = Metric(
    "seaway_worker_resident_memory_bytes", "gauge", "bytes", ("worker",), "Resident memory of the worker."
)
WORKER_MEMORY_LIMIT: Final = Metric(
    "seaway_worker_memory_limit_bytes",
    "gauge",
    "bytes",
    ("worker",),
    "Resident memory beyond which the worker is replaced.",
    only="where it has a limit",
)
RECORDER_REQUESTS: Final = Metric(
    "seaway_recorder_requests_total",
    "counter",
    "requests",
    ("sink", "outcome", "worker"),
    "Requests that sinks kept or had to drop.",
)
RECORDER_RATE: Final = Metric(
    "seaway_recorder_rate",
    "gauge",
    "share",
    ("worker",),
    "Share of the requests that the sinks look at.",
)
RECORDER_CPU: Final = Metric(
    "seaway_recorder_cpu_seconds_total", "counter", "seconds", ("worker",), "Processor time that sinks took."
)
FEEDBACK: Final = Metric(
    "seaway_feedback_total",
    "counter",
    "outcomes",
    ("outcome", "worker"),
    "Outcomes that were reported, by what became of them.",
    only="where feedback was given",
)
FALLBACKS: Final = Metric(
    "seaway_fallbacks_total",
    "counter",
    "requests",
    ("endpoint", "revision", "code", "worker"),
    "Requests that the stable revision answered since this one failed; each is in seaway_requests_total for both.",
    only="where a revision failed and another one answered",
)
MIRRORED: Final = Metric(
    "seaway_mirrored_total",
    "counter",
    "requests",
    ("endpoint", "revision", "result", "worker"),
    "Requests that this revision was asked in the shadow, by what became of the comparison.",
    only="where a rollout mirrors requests",
)
SPANS: Final = Metric(
    "seaway_spans_total",
    "counter",
    "spans",
    ("outcome", "worker"),
    "Spans of traced requests: exported, or dropped.",
    only="where otlp is set",
)

CONTROL_PROCESSES: Final = Metric(
    "seaway_control_processes",
    "gauge",
    "processes",
    (),
    "Control processes that answered this scrape.",
    only=_CONTROL,
)
_ROLLOUT: Final = ("endpoint", "revision")
ROLLOUT_PHASE: Final = Metric(
    "seaway_rollout_phase",
    "gauge",
    "0 or 1",
    (*_ROLLOUT, "phase"),
    "Whether the endpoint's last rollout is in this phase; the revision is its candidate.",
    only=_ROLLED,
)
ROLLOUT_SHARE: Final = Metric(
    "seaway_rollout_share",
    "gauge",
    "share",
    _ROLLOUT,
    "Share of the traffic that the candidate of the last rollout is to have.",
    only=_ROLLED,
)
ROLLOUT_APPROVAL: Final = Metric(
    "seaway_rollout_waits_for_approval",
    "gauge",
    "0 or 1",
    _ROLLOUT,
    "Whether a person's approval is all that the rollout's step waits for, but for freezes.",
    only=_ROLLED,
)
CHECK_VERDICT: Final = Metric(
    "seaway_rollout_check_verdict",
    "gauge",
    "0 or 1",
    (*_ROLLOUT, "check", "verdict"),
    "Whether this is the newest verdict of a check of the endpoint's last rollout.",
    only=_ROLLED,
)
ROLLOUTS: Final = Metric(
    "seaway_rollouts_total",
    "counter",
    "rollouts",
    ("endpoint", "end"),
    "Rollouts that are over, by how they ended.",
    only=_CONTROL,
)

METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        REQUESTS,
        REQUEST_DURATION,
        ANSWERS,
        IN_FLIGHT,
        BATCH_ROWS,
        BATCH_DURATION,
        QUEUE_DURATION,
        QUEUED_ROWS,
        STREAMS_OPEN,
        LANE,
        BATCH_FIXED,
        BATCH_ROW,
        REVISION_READY,
        REVISION_ISOLATED,
        REVISION_START,
        REVISION_MEMORY,
        GENERATION,
        WORKERS,
        WORKER_MEMORY,
        WORKER_MEMORY_LIMIT,
        RECORDER_REQUESTS,
        RECORDER_RATE,
        RECORDER_CPU,
        FEEDBACK,
        FALLBACKS,
        MIRRORED,
        SPANS,
        CONTROL_PROCESSES,
        ROLLOUT_PHASE,
        ROLLOUT_SHARE,
        ROLLOUT_APPROVAL,
        CHECK_VERDICT,
        ROLLOUTS,
    )
}
"""By name, in the order in which a page about them shows them."""

SERIES: Final[dict[str, Metric]] = {name: metric for metric in METRICS.values() for name in metric.series}
"""By the names that queries use."""
