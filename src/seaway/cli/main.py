"""The `seaway` command: the table of verbs, and the one place where an error becomes an exit code.

A verb's module is imported only when the verb is called, so that `seaway --help` stays quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

import cyclopts
from cyclopts.exceptions import CycloptsError

import seaway
from seaway.cli import output
from seaway.core.errors import PermanentError, SeawayError, UserError
from seaway.wire import status


class Verb(NamedTuple):
    """One verb: where its function is, what the list of verbs says of it, and an example that `--help` shows."""

    target: str
    summary: str
    example: str


_STAGES: Final = {
    "Models": ("package", "models", "versions", "show", "diff", "verify", "validate", "image"),
    "Servers": ("up", "serve", "config", "doctor"),
    "Endpoints": ("deploy", "predict", "status", "rollback", "history", "delete"),
    "Rollouts": ("rollout", "promote", "pause", "resume", "abort", "approve", "traffic"),
    "What happens": ("watch", "explain", "profile", "records", "replay", "feedback", "quality", "monitoring"),
}
"""How `seaway --help` lists the verbs, by their first words."""


VERBS: Final[dict[str, Verb]] = {
    "package": Verb(
        "seaway.cli.models:package",
        "Package a trained model as a new immutable version.",
        "seaway package model.onnx --name prices --golden test.csv --target price_up --require 'accuracy>=0.80'",
    ),
    "models": Verb("seaway.cli.models:models", "List the models of this home.", "seaway models"),
    "versions": Verb("seaway.cli.models:versions", "List the versions of a model.", "seaway versions prices"),
    "show": Verb(
        "seaway.cli.models:show",
        "Show what a version is made of and what its checks found.",
        "seaway show prices:v3",
    ),
    "diff": Verb(
        "seaway.cli.models:diff", "Say what differs between two versions.", "seaway diff prices:v2 prices:v3"
    ),
    "verify": Verb(
        "seaway.cli.models:verify", "Check every stored byte against its digest.", "seaway verify prices:v3"
    ),
    "validate": Verb(
        "seaway.cli.gates:validate",
        "Run a version's checks and keep the report.",
        "seaway validate prices:v3",
    ),
    "up": Verb(
        "seaway.cli.servers:up",
        "Start the server: data workers, control process, supervisor.",
        "seaway up --http 127.0.0.1:8080",
    ),
    "deploy": Verb(
        "seaway.cli.endpoints:deploy",
        "Put a version behind an endpoint, once its gate passed.",
        "seaway deploy prices:v3 --plan",
    ),
    "status": Verb(
        "seaway.cli.endpoints:status", "Show what is live, and how the workers are.", "seaway status prices"
    ),
    "watch": Verb(
        "seaway.cli.watch:watch",
        "Show an endpoint's traffic, errors, latency and answers, live.",
        "seaway watch prices",
    ),
    "explain": Verb(
        "seaway.cli.explain:explain",
        "Explain one request, or one rollout: which, why, and what was seen.",
        "seaway explain prices/5",
    ),
    "rollout": Verb(
        "seaway.cli.rollouts:rollout",
        "Show an endpoint's rollout: its step, what it waits for, its checks.",
        "seaway rollout prices",
    ),
    "promote": Verb(
        "seaway.cli.rollouts:promote",
        "Take a rollout's next step now; --full gives it all the traffic.",
        "seaway promote prices --reason 'seen enough'",
    ),
    "pause": Verb("seaway.cli.rollouts:pause", "Keep a rollout at its share.", "seaway pause prices"),
    "resume": Verb("seaway.cli.rollouts:resume", "Let a paused rollout go on.", "seaway resume prices"),
    "abort": Verb(
        "seaway.cli.rollouts:abort",
        "End a rollout: all traffic back to the stable revision.",
        "seaway abort prices --reason 'odd answers'",
    ),
    "approve": Verb(
        "seaway.cli.rollouts:approve",
        "Approve the step that waits for a person.",
        "seaway approve prices",
    ),
    "traffic": Verb(
        "seaway.cli.rollouts:traffic",
        "Give a rollout's candidate a share by hand.",
        "seaway traffic prices 30%",
    ),
    "predict": Verb(
        "seaway.cli.endpoints:predict",
        "Send rows of a file to an endpoint.",
        "seaway predict prices --data rows.csv",
    ),
    "rollback": Verb(
        "seaway.cli.endpoints:rollback",
        "Take an endpoint back to an earlier revision.",
        "seaway rollback prices",
    ),
    "history": Verb(
        "seaway.cli.endpoints:history",
        "Say who did what when, or what was live at a time.",
        "seaway history prices --at 2026-11-22T09:00:00Z",
    ),
    "delete": Verb(
        "seaway.cli.endpoints:delete", "Delete an endpoint; its models stay.", "seaway delete prices"
    ),
    "serve": Verb(
        "seaway.cli.servers:serve",
        "Serve one model, the data plane alone.",
        "seaway serve model.onnx --http 127.0.0.1:8080",
    ),
    "profile": Verb(
        "seaway.cli.profiles:profile",
        "Show what came and what was answered, column by column.",
        "seaway profile prices --since 1h",
    ),
    "records": Verb(
        "seaway.cli.records:records",
        "Look at captured requests, by SQL or not; erase a subject's.",
        "seaway records prices --since 12h --sql 'SELECT code, count(*) FROM records GROUP BY code'",
    ),
    "replay": Verb(
        "seaway.cli.replay:replay",
        "Run recorded traffic on a candidate, offline, and compare.",
        "seaway replay prices --candidate prices:v5 --since 1d --html replay.html",
    ),
    "feedback import": Verb(
        "seaway.cli.feedback:import_file",
        "Tell what became of predictions: outcomes and KPIs by request id.",
        "seaway feedback import outcomes.csv",
    ),
    "quality": Verb(
        "seaway.cli.feedback:quality",
        "Show an endpoint's live accuracy, calibration, errors and KPIs.",
        "seaway quality prices --since 7d --by window",
    ),
    "monitoring": Verb(
        "seaway.cli.monitoring:monitoring",
        "Write an endpoint's alert rules and dashboard.",
        "seaway monitoring prices -o ./monitoring",
    ),
    "image": Verb(
        "seaway.cli.models:image",
        "Write a Dockerfile and a build context for a version.",
        "seaway image prices:v3 -o ./prices-image",
    ),
    "config show": Verb(
        "seaway.cli.diagnostics:config_show",
        "Show every setting and where it came from.",
        "seaway config show",
    ),
    "doctor": Verb(
        "seaway.cli.diagnostics:doctor",
        "Check this machine and this home, and say what to mend.",
        "seaway doctor",
    ),
}

_GROUPS: Final = {
    "config": "Show the configuration.",
    "feedback": "Tell what became of predictions.",
}
"""What the verbs of two words have in common, by their first."""


def build_app(arguments: Sequence[str] = ()) -> cyclopts.App:
    """The parser with all verbs; no verb's module is imported yet.

    The verb that `arguments` name explains itself in full; of the others the list needs the summary alone.
    """
    app = cyclopts.App(
        name="seaway",
        help="From a trained model to a served, versioned, reversible endpoint.",
        help_epilogue=(
            "A first round:\n\n"
            "```\n"
            "seaway package model.onnx --name prices\n"
            "seaway up                      # in another terminal\n"
            "seaway deploy prices:v1\n"
            "seaway predict prices --data rows.csv\n"
            "```"
        ),
        help_format="markdown",
        version=seaway.__version__,
        console=output.Terminal(),
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    stages: dict[str, cyclopts.Group] = {}
    for place, (title, words_of) in enumerate(_STAGES.items()):
        stages |= dict.fromkeys(words_of, cyclopts.Group(title, sort_key=place))
    groups: dict[str, cyclopts.App] = {"": app}
    options = cyclopts.Group("Options", sort_key=len(_STAGES))
    for flag in (app.help_flags[0], app.version_flags[0]):
        app[flag].group = (options,)
    for place, (words, verb) in enumerate(VERBS.items()):
        group, _, name = words.rpartition(" ")
        if group not in groups:
            groups[group] = cyclopts.App(
                name=group,
                help=_GROUPS[group],
                help_format="markdown",
                help_epilogue="",
                group=stages[group],
                sort_key=place,
            )
            app.command(groups[group])
        groups[group].command(
            verb.target,
            name=name,
            group=None if group else stages[name],
            sort_key=place,
            help=None if arguments[: len(words.split())] == words.split() else verb.summary,
            help_epilogue=f"Example:\n\n```\n{verb.example}\n```",
        )
    return app


def main(arguments: list[str]) -> int:
    """Run one command line and return its exit code (see docs/errors.md); errors go to stderr.

    With `--json`, an error is one JSON document on stderr too.
    """
    as_json = "--json" in arguments
    try:
        result = build_app(arguments)(arguments, exit_on_error=False, print_error=False, help_on_error=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except CycloptsError as error:
        output.print_error(
            UserError("invalid_request", str(error), "seaway VERB --help shows the options"), as_json
        )
        return 2
    except SeawayError as error:
        output.print_error(error, as_json)
        return status.STATUS[error.code].exit_code
    except KeyboardInterrupt:
        output.print_error(UserError("interrupted", "interrupted; what was acknowledged stays done"), as_json)
        return status.STATUS["interrupted"].exit_code
    except BrokenPipeError:
        # The reader went away (`seaway history | head`): nothing is wrong, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the process edge: whatever is left is a fault of Seaway
        return _internal_fault(error, as_json)


def _internal_fault(error: Exception, as_json: bool) -> int:
    if isinstance(error, OSError) and error.errno == 28:
        output.print_error(
            PermanentError("disk_full", "no space left on the disk", "free some space, then try again"),
            as_json,
        )
        return status.STATUS["disk_full"].exit_code
    output.print_error(
        PermanentError(
            "internal", f"{type(error).__name__}: {error}", "run again with SEAWAY_TRACEBACK=1 and report it"
        ),
        as_json,
    )
    if output.wants_traceback():
        raise error
    return 1
