"""Rules of the code base that are easier to test than to remember."""

from __future__ import annotations

import ast
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from seaway.core import errors
from seaway.wire import status

SOURCE = Path(__file__).resolve().parents[2] / "src" / "seaway"
FILES = sorted(SOURCE.rglob("*.py"))
# Files over 400 lines, each with its reason. None so far.
LONG_FILES: dict[str, str] = {}
PORTS = ("core/ports.py", "wiring/control_access.py", "control/doors.py")
PORT_METHODS = {
    item.name
    for name in PORTS
    for node in ast.parse((SOURCE / name).read_text("utf-8")).body
    if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "Protocol" for base in node.bases)
    for item in node.body
    if isinstance(item, ast.FunctionDef)
}
HEAVY = {
    "onnx", "onnxruntime", "sklearn", "skl2onnx", "skops", "pandas", "pyarrow", "sqlalchemy", "alembic", "starlette",
    "uvicorn", "jinja2", "psycopg", "ruamel",
}  # fmt: skip


def test_importing_the_command_line_loads_no_engine_or_server_library() -> None:
    code = "import sys, seaway.cli.main as m; m.build_app(); print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not HEAVY & set(loaded)


def test_import_seaway_loads_nothing_from_outside() -> None:
    code = "import sys, seaway; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not (HEAVY | {"numpy", "msgspec", "rich", "cyclopts"}) & set(loaded)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_file_stays_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text("utf-8")
    name = str(path.relative_to(SOURCE))
    assert text.count("\n") <= 400 or name in LONG_FILES, f"{name} is over 400 lines"
    tree = ast.parse(text)
    if tree.body:
        assert ast.get_docstring(tree), f"{name} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_public_functions_and_classes_have_docstrings(path: Path) -> None:
    missing = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Module | ast.ClassDef) or getattr(node, "name", "").startswith("_"):
            continue
        for item in node.body:
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                method = isinstance(node, ast.ClassDef)
                # A port's method is documented at the port, and one of a line says what it is by its name.
                told = method and (item.name in PORT_METHODS or len(item.body) == 1)
                told = told or "testing" in path.parts  # a suite's checks are named by a sentence
                if not item.name.startswith("_") and not ast.get_docstring(item) and not told:
                    missing.append(f"{item.name} (line {item.lineno})")
    assert not missing


def test_every_error_code_is_in_the_one_table_and_in_the_docs() -> None:
    assert set(status.STATUS) == set(errors.CODES)
    docs = SOURCE.parents[1] / "docs"
    page = runpy.run_path(str(docs / "make_errors.py"))["render"]()
    assert (docs / "errors.md").read_text("utf-8") == page, "run: python docs/make_errors.py"


def test_the_measured_part_of_the_statistics_is_what_the_proof_found() -> None:
    docs = SOURCE.parents[1] / "docs"
    make = runpy.run_path(str(docs / "make_statistics.py"))
    told = make["render"](json.loads((docs / "proof" / "verdicts.json").read_text("utf-8")))
    page = (docs / "statistics.md").read_text("utf-8")
    assert make["BEGIN"] + told + make["END"] in page, "run: python docs/make_statistics.py"


def test_every_code_that_is_raised_is_in_the_table() -> None:
    unknown = []
    families = {"UserError", "TemporaryError", "PermanentError"}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            code = node.args[0]
            if name in families and isinstance(code, ast.Constant) and code.value not in errors.CODES:
                unknown.append((path.name, node.lineno, code.value))
    assert not unknown


def test_no_room_without_a_name() -> None:
    vague = {"utils", "common", "base", "manager", "helpers", "misc"}
    assert not [p for p in FILES if p.stem in vague or p.parent.name in vague]
