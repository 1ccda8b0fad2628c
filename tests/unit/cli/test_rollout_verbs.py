"""The verbs of rollouts as they are typed: what is asked of the control plane, what is printed, which words are refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import rollout_values as r
import watch_values as v

from seaway.cli import main as cli
from seaway.control import views
from seaway.control.rollouts import views as rollouts
from seaway.core.errors import UserError
from seaway.core.events import Event, EventKind
from seaway.core.rollouts.state import RolloutPhase
from seaway.wiring import control_access
from seaway.wiring.home import Home


class Control:
    """A control plane that remembers what was asked."""

    running = True

    def __init__(self) -> None:
        self.moves: list[tuple[str, rollouts.Move]] = []
        self.requests: list[views.DeployRequest] = []

    def move(self, endpoint: str, move: rollouts.Move) -> views.Accepted:
        if endpoint != "prices":
            raise UserError("no_rollout", f"{endpoint} has had no rollout")
        self.moves.append((endpoint, move))
        return views.Accepted("prices", 4, v.digest(4), "prices:v4", 9, True, 12, "it is so")

    def deploy(self, endpoint: str, request: views.DeployRequest) -> views.Accepted:
        self.requests.append(request)
        return views.Accepted("prices", 4, v.digest(4), "prices:v4", 9, True, 10, "revision 4 is prices:v4")

    def rollout(self, endpoint: str) -> rollouts.RolloutStatus:
        return r.status(r.judgement())

    def status(self) -> views.Status:
        return views.Status((v.status(revisions=(3, 4), rollout=r.STATE),), ())

    def rollout_record(self, endpoint: str, number: int) -> rollouts.RolloutRecord:
        if number != 4:
            raise UserError("revision_not_found", f"{endpoint} has no revision {number}")
        candidate = rollouts.Arm(4, v.digest(4), "prices:v4")
        return rollouts.RolloutRecord("prices", candidate, None, r.SPEC, None, (), (r.judgement(),))

    def follow(self, after: int, beat: object = None) -> Iterator[Event]:
        yield r.event(11, EventKind.DEPLOY_REQUESTED, "", 9)
        yield r.event(12, EventKind.ROLLOUT_STARTED, "", 9)
        yield r.event(13, EventKind.ROLLOUT_STEPPED, "", 9)
        yield r.event(14, EventKind.REVISION_LIVE, "", 9, revision=3)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Control:
    found = Control()

    @contextlib.contextmanager
    def opened(_home: Home) -> Iterator[Control]:
        yield found

    monkeypatch.setattr(control_access, "open_control", opened)
    monkeypatch.setenv("SEAWAY_HOME", str(tmp_path))
    (tmp_path / "state.db").touch()
    return found


@pytest.mark.parametrize(
    ("words", "move"),
    [
        (["promote", "prices"], rollouts.Promote()),
        (["promote", "prices", "--full", "--reason", "fair", "--no-wait"], rollouts.Promote(True, "fair")),
        (["pause", "prices", "--reason", "lunch"], rollouts.Pause("lunch")),
        (["resume", "prices"], rollouts.Resume()),
        (["abort", "prices", "--reason", "odd"], rollouts.Abort("odd")),
        (["approve", "prices"], rollouts.Approve()),
        (["traffic", "prices", "30%"], rollouts.Traffic(30.0)),
        (["traffic", "prices", "0.5%", "--reason", "little"], rollouts.Traffic(0.5, "little")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_verb_is_one_move(
    control: Control, words: list[str], move: rollouts.Move, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 0
    assert control.moves == [("prices", move)]
    assert "done it is so" in capsys.readouterr().out
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accepted"]["revision"] == 4 and found["rollout"]["state"]["percent"] == 25.0


@pytest.mark.parametrize("share", ["30", "130%", "-3%", "x", "nan%", "1e2%", "%"])
def test_a_share_is_a_percent(control: Control, share: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["traffic", "prices", share]) == 2
    assert not control.moves
    assert capsys.readouterr().err


def test_an_empty_reason_is_refused(control: Control, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["abort", "prices", "--reason", "  "]) == 2
    assert "the reason is empty" in capsys.readouterr().err and not control.moves


def test_a_refused_move_exits_with_3(control: Control) -> None:
    assert cli.main(["pause", "other"]) == 3


def test_rollout_prints_and_is_one_document(control: Control, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rollout", "prices"]) == 0
    assert capsys.readouterr().out.startswith("prices/4  running  step 3 of 4")
    assert cli.main(["rollout", "prices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judgement"]["looks"] == 41


def test_a_deploy_says_that_its_rollout_has_begun_and_how_to_follow_it(
    control: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deploy", "prices:v4", "--force-from-broken", "v3 is down"]) == 0
    assert control.requests == [views.DeployRequest(bundle="prices:v4", force="v3 is down")]
    out = capsys.readouterr().out
    assert out.startswith("begun revision 4 is prices:v4")
    assert "seaway watch prices" in out and "seaway abort prices" in out
    assert cli.main(["deploy", "prices:v4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rollout"]["state"]["candidate"] == 4


def test_a_deploy_tells_at_once_which_rollout_it_supersedes(
    control: Control, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it fails then: the one before is over all the same."""

    def deploy(endpoint: str, request: views.DeployRequest) -> views.Accepted:
        before = views.Superseded(4, 10.0)
        return views.Accepted(
            "prices", 5, v.digest(5), "prices:v5", 9, True, 10, "revision 5 is prices:v5", superseded=before
        )

    def follow(after: int, beat: object = None) -> Iterator[Event]:
        yield r.event(11, EventKind.DEPLOY_REQUESTED, "", 9, revision=5)
        yield r.event(12, EventKind.REVISION_FAILED, "bad axis", 9, revision=5)

    line = "supersedes the rollout of prices/4, which was at 10 %\n"
    monkeypatch.setattr(control, "deploy", deploy)
    assert cli.main(["deploy", "prices:v5", "--no-wait"]) == 0
    assert capsys.readouterr().err == line
    assert cli.main(["deploy", "prices:v5", "--no-wait", "--json"]) == 0
    told = capsys.readouterr()
    assert (json.loads(told.out)["superseded"], told.err) == ({"revision": 4, "percent": 10.0}, "")
    monkeypatch.setattr(control, "follow", follow)
    assert cli.main(["deploy", "prices:v5"]) == 3
    assert capsys.readouterr().err.startswith(line)


def test_a_followed_deploy_tells_each_event_as_it_is_also_with_brackets(
    control: Control, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def follow(after: int, beat: object = None) -> Iterator[Event]:
        yield r.event(11, EventKind.DEPLOY_REQUESTED, "", 9)
        yield r.event(12, EventKind.ROLLOUT_STARTED, "", 9)
        yield r.event(13, EventKind.ROLLOUT_PAUSED, "paused at 1 %: [ONNXRuntimeError] is odd", 9)
        yield r.event(14, EventKind.ROLLOUT_PROMOTED, "", 9)

    monkeypatch.setattr(control, "follow", follow)
    assert cli.main(["deploy", "prices:v4", "--follow"]) == 0
    assert "prices: paused at 1 %: [ONNXRuntimeError] is odd" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--follow", "--no-wait"], ["--force-from-broken", " "], ["--override", ""]], ids=str
)
def test_words_of_deploy_that_do_not_fit(control: Control, words: list[str]) -> None:
    assert cli.main(["deploy", "prices:v4", *words]) == 2
    assert not control.requests


def test_status_shows_the_split_and_the_receivers_that_are_away(
    control: Control, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = views.WebhookStatus("https://hooks.example.org", 7, 3, v.NOW_S, "it answered 500")
    told = views.Status(control.status().endpoints, (), (away,))
    monkeypatch.setattr(control, "status", lambda: told)
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["status"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "rollout of 4: running at 25 %" in out
    assert "https://hooks.example.org 7 3 takes none since 2027-01-15 08:00:00 UTC: it answered 500" in out
    assert cli.main(["status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["webhooks"][0]["waiting"] == 3 and found["endpoints"][0]["rollout"]["step"] == 2


def test_status_names_the_check_that_took_a_candidate_back(
    control: Control, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = msgspec.structs.replace(
        r.STATE, phase=RolloutPhase.ROLLED_BACK, why="a long why", cause="latency"
    )
    endpoint = v.status(live=3, revisions=(3, 4), failed=4, reason="a long why", rollout=ended)
    monkeypatch.setattr(control, "status", lambda: views.Status((endpoint,), ()))
    assert cli.main(["status"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "rollout of 4: rolled back (latency); seaway explain prices/4" in out and "a long why" not in out


def test_explain_takes_rollouts_and_requests(control: Control, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "prices/4"]) == 0
    assert capsys.readouterr().out.startswith("prices/4  not over")
    assert cli.main(["explain", "prices/4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["looks"][0]["looks"] == 41
    assert cli.main(["explain", "prices/5"]) == 2
    assert "prices has no revision 5" in capsys.readouterr().err
    assert cli.main(["explain", "5f2a9c1e-2a"]) == 2
    assert "record_not_found" in capsys.readouterr().err


def test_the_secret_of_the_webhooks_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEAWAY_HOME", str(tmp_path))
    monkeypatch.setenv("SEAWAY_WEBHOOKS", "https://hooks.example.org/T0/tokentoken")
    monkeypatch.setenv("SEAWAY_WEBHOOK_SECRET", "verysecretverysecret")
    assert cli.main(["config", "show"]) == 0
    out = capsys.readouterr().out
    assert "tokentoken" not in out and "verysecret" not in out and out.count("(secret)") == 2
    monkeypatch.setenv("SEAWAY_WEBHOOK_SECRET", "short")
    assert cli.main(["config", "show"]) == 2
    assert "short" not in capsys.readouterr().err.replace("shorter", "")
    monkeypatch.setenv("SEAWAY_WEBHOOK_SECRET", "")
    monkeypatch.setenv("SEAWAY_WEBHOOKS", "https://a:b@hooks.example.org/")
    assert cli.main(["up", "--http", "127.0.0.1:1"]) == 2
