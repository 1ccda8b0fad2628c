"""The command line's frame: help with an example on every verb, exit codes, errors with cause and fix."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from seaway import settings
from seaway.bundle import sources
from seaway.cli import main as cli
from seaway.testing import tiny_models
from server import linear_model


@pytest.mark.parametrize("words", cli.VERBS)
def test_every_verb_has_help_with_an_example(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*words.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    verb = cli.VERBS[words]
    module, _, name = verb.target.partition(":")
    told = getattr(importlib.import_module(module), name).__doc__ or ""
    assert "".join(told.replace("`", "").split()) in "".join(shown.split()), "the whole docstring"
    assert "Example" in shown
    assert " ".join(verb.example.split()[:3]) in " ".join(shown.split())
    assert "--home" in shown and "--json" in shown


@pytest.mark.parametrize("words", cli.VERBS)
def test_every_verb_names_a_function(words: str) -> None:
    module, _, name = cli.VERBS[words].target.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no-such-verb"], 2, "invalid_request"),
        (["package"], 2, "invalid_request"),
        (["package", "m.onnx", "--name", "x", "--no-such-option"], 2, "invalid_request"),
        (["show", "prices"], 2, "invalid_reference"),
        (["show", "prices:v1"], 2, "model_not_found"),
        (["versions", "Prices!"], 2, "invalid_name"),
        (["package", "does-not-exist.onnx", "--name", "prices"], 2, "file_not_found"),
        (["serve", "model.onnx", "--http", "nonsense"], 2, "invalid_config"),
        (["up", "--workers", "0"], 2, "invalid_config"),
        (["package", "m.onnx", "--name", "x", "--golden", "g.csv"], 2, "invalid_request"),
        (["verify", "prices:v1", "--all"], 2, "invalid_request"),
    ],
)
def test_bad_input_exits_with_2_and_says_why(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "192.0.2.7:8080"])
@pytest.mark.parametrize("verb", [["up"], ["serve", "model.onnx"]])
def test_l01_an_open_address_is_refused_with_the_fix(
    verb: list[str], address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*verb, "--http", address]) == 2
    shown = capsys.readouterr().err
    assert "open_bind_refused" in shown and "--allow-open" in shown


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An ONNX file that can be packaged."""
    return linear_model(tmp_path / "model.onnx", 2.0)


def test_an_unknown_metric_never_gets_into_a_version(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["package", str(model), "--name", "m", "--require", "acuracy>=0.9", "--no-lock"]) == 2
    shown = capsys.readouterr().err
    assert "invalid_requirement" in shown and "did you mean accuracy?" in shown
    assert cli.main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_lineage_path_that_leads_nowhere_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(["package", str(model), "--name", "m", "--lineage", "data=/nope/train.csv", "--no-lock"])
        == 2
    )
    assert "file_not_found" in capsys.readouterr().err


def test_an_empty_override_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deploy", "m:v1", "--override", " "]) == 2
    assert "needs a reason" in capsys.readouterr().err


def test_an_open_control_address_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--control", "0.0.0.0:9000"]) == 2
    assert "open_bind_refused" in capsys.readouterr().err


def test_errors_are_one_json_document_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "prices", "--json"]) == 2
    document = json.loads(capsys.readouterr().err)
    assert document["code"] == "invalid_reference" and document["error"] and document["hint"]


def test_config_show_names_the_origin_of_each_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text("workers = 3\n")
    monkeypatch.setenv("SEAWAY_HTTP", "127.0.0.1:9999")
    assert cli.main(["config", "show", "--json", "--home", str(tmp_path)]) == 0
    shown = json.loads(capsys.readouterr().out)["settings"]
    assert shown["workers"] == {"value": 3, "origin": str(tmp_path / "config.toml")}
    assert shown["http"] == {"value": "127.0.0.1:9999", "origin": "SEAWAY_HTTP"}
    assert shown["drain_s"]["origin"] == "default"


def test_config_show_keeps_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEAWAY_STORE", "postgresql://u:canary-secret@localhost/db")
    for extra in ([], ["--json"]):
        assert cli.main(["config", "show", "--home", str(tmp_path), *extra]) == 0
        captured = capsys.readouterr()
        assert "canary-secret" not in captured.out + captured.err


@pytest.mark.parametrize(
    ("text", "said"),
    [("wrokers = 3\n", "wrokers"), ("workers = [\n", "cannot be read"), ('workers = "many"\n', "workers")],
)
def test_a_bad_configuration_names_the_file(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text(text)
    assert cli.main(["models", "--home", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert said in shown and "config.toml" in shown


def test_l06_a_reader_that_goes_away_is_no_error() -> None:
    script = f"{sys.executable} -m seaway --help | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_l06_no_terminal_and_closed_stdin_are_fine(tmp_path: Path) -> None:
    environment = {**os.environ, "TERM": "dumb", "SEAWAY_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "seaway", "models"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
    )
    assert done.returncode == 0


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.15, 0.3])
def test_l06_ctrl_c_is_130_at_any_moment_and_no_traceback(delay_s: float, tmp_path: Path) -> None:
    """Reading standard input, so that the command is still there whenever the signal comes."""
    environment = {**os.environ, "SEAWAY_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "seaway", "predict", "prices", "--data", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a runner in the background ignores it
    )  # fmt: skip
    assert process.stdin and process.stderr
    # -X importtime says when the imports inside the guard begin; before that, the signal is Python's own affair.
    for line in process.stderr:
        if "cyclopts" in line:
            break
    try:
        process.wait(timeout=delay_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said[-2000:]
    assert "Traceback" not in said


SLOW_MODULE = """
import os, time
os.write(1, b"importing ")
while not os.path.exists("come"):  # which is made after the first signal
    time.sleep(0.001)
os.write(1, b"heard ")
while not os.path.exists("done"):
    time.sleep(0.001)
os.write(1, b"imported ")
"""


@pytest.mark.parametrize(
    ("signals", "said", "code"),
    [(1, "importing heard imported interrupted orderly", 0), (2, "importing heard interrupted", 130)],
)
def test_l06_ctrl_c_waits_for_an_import_and_a_second_one_does_not(
    tmp_path: Path, signals: int, said: str, code: int
) -> None:
    """A library's import may abort the process when it is interrupted; what was begun around it ends in order."""
    (tmp_path / "slow_module.py").write_text(SLOW_MODULE)
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom seaway.cli import interrupts\ninterrupts.between_imports()\n"
        "try:\n    import slow_module, time; time.sleep(60)\n"
        "except KeyboardInterrupt:\n    os.write(1, b'interrupted orderly')\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    shown = os.read(process.stdout.fileno(), 10).decode()
    process.send_signal(signal.SIGINT)
    (tmp_path / "come").touch()
    shown += os.read(process.stdout.fileno(), 6).decode()
    if signals == 2:
        process.send_signal(signal.SIGINT)
    else:
        (tmp_path / "done").touch()
    shown += process.communicate(timeout=100)[0].decode().rstrip()
    assert (shown, process.returncode) == (said, code)


LATE_SECOND = """
import os, signal
both = {signal.SIGINT, signal.SIGALRM}
os.kill(os.getpid(), signal.SIGINT)
signal.pthread_sigmask(signal.SIG_BLOCK, both)
os.kill(os.getpid(), signal.SIGINT)
while signal.SIGALRM not in signal.sigpending():
    pass
signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
os.write(1, b"imported ")
"""
"""While C code runs (here: while they are blocked) the second interrupt and the timer come together."""
BEFORE_AN_EXEC = """
import os, signal
from seaway.cli import interrupts, servers
try:
    servers._become([])
except KeyboardInterrupt:
    os.write(1, b"interrupted orderly ")
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
interrupts.raise_waiting()
os.write(1, b"once")
"""
INTERRUPTED_LAST = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
os.kill(os.getpid(), signal.SIGINT)
while signal.SIGALRM not in signal.sigpending():
    pass
"""
"""An interrupt that waits, whose timer is not heard before what follows the import."""


@pytest.mark.parametrize(
    ("module", "then", "said", "code"),
    [
        (LATE_SECOND, "os.write(1, b'went on')", "interrupted", 130),
        (INTERRUPTED_LAST, BEFORE_AN_EXEC, "interrupted orderly once", 0),
    ],
)
def test_l06_an_interrupt_that_waits_is_neither_lost_nor_raised_twice(
    tmp_path: Path, module: str, then: str, said: str, code: int
) -> None:
    """A timer that is left to a program which this process becomes would kill it."""
    (tmp_path / "the_module.py").write_text(module)
    script = tmp_path / "script.py"
    script.write_text(
        f"import os\nfrom seaway.cli import interrupts, servers\ninterrupts.between_imports()\nimport the_module\n{then}\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100)
    assert ((done.stdout + done.stderr).rstrip(), done.returncode) == (said, code)


def test_l06_an_interrupt_that_comes_with_the_last_import_counts(tmp_path: Path) -> None:
    """What the verb has printed is there, and the exit code says that it was interrupted."""
    (tmp_path / "the_module.py").write_text(INTERRUPTED_LAST)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom seaway.cli import entry, main\n"
        "def verb(_):\n    import the_module\n    sys.stdout.write('printed ')\n    return 0\n"
        "main.main = verb\nentry.run()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=100,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("printed ", "interrupted\n", 130)


def packaged(home: Path, name: str) -> Path:
    """The bundle directory that became NAME:v1 of the home."""
    bundle = tiny_models.linear(home / f"made-{name}", 0.5)
    assert cli.main(["package", bundle.directory, "--name", name, "--home", str(home)]) == 0
    return Path(bundle.directory)


def test_one_damaged_index_hides_no_other_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packaged(tmp_path, "apples")
    packaged(tmp_path, "prices")
    (tmp_path / "models" / "apples" / "index.json").write_text("{")
    capsys.readouterr()
    assert cli.main(["models", "--json", "--home", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert [one["name"] for one in json.loads(shown.out)] == ["prices"]
    assert "apples" in shown.err and "manifest_invalid" in shown.err
    assert cli.main(["verify", "--all", "--json", "--home", str(tmp_path)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verified"] == ["prices:v1"]
    assert [(one["ref"], one["code"]) for one in found["problems"]] == [("apples", "manifest_invalid")]


def test_p21_doctor_names_a_damaged_bundle_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packaged(tmp_path, "prices")
    blob = max(
        (tmp_path / "models" / "prices" / "blobs" / "sha256").iterdir(), key=lambda p: p.stat().st_size
    )
    blob.chmod(0o644)
    blob.write_bytes(b"x" * blob.stat().st_size)
    capsys.readouterr()
    assert cli.main(["doctor", "--json", "--home", str(tmp_path)]) == 1
    broken = [f for f in json.loads(capsys.readouterr().out) if f["subject"] == "bundles"]
    assert broken and all(f["text"].startswith("prices:v1: ") for f in broken)
    assert all("Problem(" not in f["text"] for f in broken)


def test_a_bundle_is_packaged_as_it_is_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = packaged(tmp_path, "prices")
    layout = tmp_path / "models" / "prices"
    capsys.readouterr()
    arguments = ["package", str(layout), "--name", "moved", "--json", "--home", str(tmp_path)]
    for created in (True, False):
        assert cli.main(arguments) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["created"], found["version"]["name"]) == (created, "moved")
        assert found["version"]["digest"] == sources.open_directory(directory).digest
    assert cli.main([*arguments, "--require", "accuracy>=0.8"]) == 2
    assert "taken as it is" in capsys.readouterr().err


@pytest.mark.parametrize(("extra", "workers"), [([], "2"), (["--workers", "3"], "3")])
def test_serve_takes_its_workers_from_the_settings(
    extra: list[str], workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: became.append(words))
    monkeypatch.setenv("SEAWAY_WORKERS", "2")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bundle = tiny_models.linear(tmp_path / "linear", 0.5)
    cli.main(["serve", bundle.directory, *extra])
    assert became[0][became[0].index("--workers") + 1] == workers


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONTROL", "STORE", "WORKERS"):
        monkeypatch.setenv(f"SEAWAY_{name}", "")
    found = settings.load(tmp_path)
    assert found.settings == settings.Settings()
    assert set(found.origins.values()) == {"default"}


def test_help_lists_every_verb_by_its_stage_in_the_life_of_a_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    panels = [panel.split("╰")[0] for panel in shown.split("╭─ ")[1:]]
    listed = {panel.split()[0]: re.findall(r"^│ ([a-z]+)  ", panel, re.MULTILINE) for panel in panels}
    assert list(listed) == ["Models", "Servers", "Endpoints", "Rollouts", "What", "Options"]
    assert listed["Models"][:2] == ["package", "models"] and listed["Endpoints"][0] == "deploy"
    assert sorted(itertools.chain(*listed.values())) == sorted({words.split()[0] for words in cli.VERBS})


@pytest.mark.parametrize("words", cli.VERBS)
def test_every_example_is_a_command_that_parses(words: str) -> None:
    seaway, *rest = shlex.split(cli.VERBS[words].example)
    assert seaway == "seaway"
    command, bound, _ = cli.build_app().parse_args(rest, exit_on_error=False, print_error=False)
    module, _, name = cli.VERBS[words].target.partition(":")
    assert command is getattr(importlib.import_module(module), name)
    assert bound.arguments or rest == words.split()
