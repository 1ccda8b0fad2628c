"""The files that hook an endpoint up to Prometheus, Alertmanager, Grafana and Elasticsearch; `seaway monitoring` writes them.

The same endpoint always gives the same bytes, so the files can stand under version control.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from seaway.monitor.logs import elastic
from seaway.monitor.telemetry import alert_rules, dashboards
from seaway.monitor.telemetry.alert_rules import SRE_WINDOWS, BurnWindow, Objectives
from seaway.monitor.telemetry.rules import JOB, Group, Rule

SCRAPE: Final = "prometheus-scrape.yaml"
PROMETHEUS: Final = "prometheus-example.yaml"
RULES: Final = "rules.yaml"
ALERTMANAGER: Final = "alertmanager-example.yaml"
DASHBOARD: Final = "grafana-dashboard.json"
TEMPLATE: Final = "elasticsearch-index-template.json"


class Plan(msgspec.Struct, frozen=True):
    """What the files are made of: the promises, where the server is (`target`, HOST:PORT), how many workers it has.

    `ca` is a file of the certificates that the server's is checked by, `interval_s` the time between two scrapes.
    """

    objectives: Objectives
    target: str
    workers: int
    tls: bool = False
    ca: str | None = None
    interval_s: float = 15.0
    windows: tuple[BurnWindow, ...] = SRE_WINDOWS


def files(plan: Plan) -> dict[str, str]:
    """The text of each file, by its name."""
    name = plan.objectives.endpoint
    scrape = _scrape(plan)
    groups = alert_rules.groups(plan.objectives, plan.workers, plan.windows)
    example = {
        "global": {
            "scrape_interval": alert_rules.duration(plan.interval_s),
            "evaluation_interval": alert_rules.duration(plan.interval_s),
        },
        "rule_files": [RULES],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]},
        **scrape,
    }
    return {
        SCRAPE: _yaml(
            f"How Prometheus reads Seaway's metrics: put it under scrape_config_files, or copy the job.\n"
            f"One scrape of {plan.target} brings all workers, each under its own label `worker`.",
            scrape,
        ),
        PROMETHEUS: _yaml(
            f"A whole Prometheus for a first look: prometheus --config.file={PROMETHEUS}", example
        ),
        RULES: _yaml(
            f"Recording and alert rules of the endpoint {name}, and of the server that it is on.\n"
            f"Written by: seaway monitoring {name}",
            {"groups": [_group(group) for group in groups]},
        ),
        ALERTMANAGER: _yaml(
            "An example: pages at once, tickets by the hour, information not at all. Put your receivers in.",
            _alertmanager(),
        ),
        DASHBOARD: _json(dashboards.dashboard(plan.objectives)),
        TEMPLATE: _json(elastic.index_template()),
    }


def write(texts: dict[str, str], directory: Path) -> tuple[Path, ...]:
    """Write the files, each whole or not at all; the directory is made, files of these names are replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in texts.items():
        path, temporary = directory / name, directory / f".{name}.new"
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
        written.append(path)
    return tuple(written)


def _scrape(plan: Plan) -> dict[str, Any]:
    job: dict[str, Any] = {
        "job_name": JOB,
        "scrape_interval": alert_rules.duration(plan.interval_s),
        "metrics_path": "/metrics",
        "static_configs": [{"targets": [plan.target]}],
    }
    if plan.tls:
        job["scheme"] = "https"
    if plan.ca is not None:
        job["tls_config"] = {"ca_file": plan.ca}
    return {"scrape_configs": [job]}


def _group(group: Group) -> dict[str, Any]:
    return {"name": group.name, "rules": [_rule(rule) for rule in group.rules]}


def _rule(rule: Rule) -> dict[str, Any]:
    expr = LiteralScalarString(rule.expr) if "\n" in rule.expr else rule.expr
    if rule.record is not None:
        return {"record": rule.record, "expr": expr}
    found: dict[str, Any] = {"alert": rule.alert, "expr": expr}
    if rule.hold_s:
        found["for"] = alert_rules.duration(rule.hold_s)
    found["labels"] = dict(rule.labels)
    found["annotations"] = {"summary": rule.summary, "description": rule.description}
    return found


def _alertmanager() -> dict[str, Any]:
    return {
        "route": {
            "receiver": "tickets",
            "group_by": ["alertname", "endpoint"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "12h",
            "routes": [
                {"matchers": ['severity="page"'], "receiver": "pages", "repeat_interval": "1h"},
                {"matchers": ['severity="info"'], "receiver": "nobody"},
            ],
        },
        # What is down is one alert; and a page of the same budget makes its ticket needless.
        "inhibit_rules": [
            {
                "source_matchers": ['alertname="SeawayDown"'],
                "target_matchers": ['alertname=~"Seaway.*"', 'alertname!="SeawayDown"'],
            },
            {
                "source_matchers": ['severity="page"'],
                "target_matchers": ['severity="ticket"'],
                "equal": ["alertname", "endpoint"],
            },
        ],
        "receivers": [
            {"name": "pages", "webhook_configs": [{"url": "http://127.0.0.1:5001/page"}]},
            {"name": "tickets", "webhook_configs": [{"url": "http://127.0.0.1:5001/ticket"}]},
            {"name": "nobody"},
        ],
    }


def _yaml(comment: str, document: dict[str, Any]) -> str:
    """Keys in the order given, long lines whole."""
    writer = YAML()
    writer.width = 1_000_000
    writer.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    writer.dump(document, out)
    return "".join(f"# {line}\n" for line in comment.splitlines()) + out.getvalue()


def _json(document: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
