"""endpoint.yaml → `core.deployments.Deployment`, with line, column and the nearest known key for what is wrong.

Read by the verbs that take a file. The values are made from YAML's node graph rather than loaded: so no tag can
construct anything, no alias can grow, and every value knows its place.
"""

from __future__ import annotations

import difflib
import importlib.resources
import re
from typing import Any, Final

import msgspec
from msgspec import inspect
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from seaway.core.deployments import Deployment
from seaway.core.errors import UserError

_MAX_BYTES: Final = 64 * 1024
_MAX_DEPTH: Final = 20
_MAX_OPENERS: Final = 200
_OPENERS: Final = ("[", "{", "- ", "? ")
_TAG: Final = "tag:yaml.org,2002:"
_PATH: Final = re.compile(r" - at `(?:key in )?\$([^`]*)`\Z")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_NO_TEXT: Final = re.compile(r"Expected `str( \| null)?`, got `(int|float|bool)`")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")

Path = tuple[str | int, ...]


def parse(data: bytes, name: str) -> Deployment:
    """The Deployment that a file's bytes describe; `name` is how errors call the file.

    Raises `UserError("invalid_spec")`.
    """
    return _Reader(name).read(data)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of endpoint.yaml, version 1, for editors; `shipped_schema` is the same as text."""
    schema = msgspec.json.schema(Deployment, schema_hook=_anything)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "endpoint.yaml, version 1",
        **schema,
    }


def shipped_schema() -> str:
    """`endpoint.schema.json` as it ships with the package."""
    return importlib.resources.files("seaway.control").joinpath("endpoint.schema.json").read_text("utf-8")


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._places: dict[Path, Node] = {}
        self._keys: dict[Path, Node] = {}
        self._seen: set[int] = set()

    def read(self, data: bytes) -> Deployment:
        node = self._compose(data)
        document = self._value(node, ())
        if not isinstance(document, dict):
            raise self._error("an endpoint file is a mapping of keys to values", node)
        try:
            return msgspec.convert(document, Deployment)
        except msgspec.ValidationError as error:
            raise self._explain(str(error)) from error

    def _compose(self, data: bytes) -> Node:
        if len(data) > _MAX_BYTES:
            raise self._error(f"the file is larger than {_MAX_BYTES // 1024} KiB")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._error(f"byte {error.start} is not UTF-8") from error
        if any(sum(map(line.count, _OPENERS)) > _MAX_OPENERS for line in text.splitlines()):
            raise self._error("it is nested too deeply")  # the parser's time grows fast with it
        try:
            node: Node | None = YAML(typ="rt", pure=True).compose(text)
        except MarkedYAMLError as error:
            mark, problem = error.problem_mark, error.problem or error.context or "it is not YAML"
            if "\\t" in problem:
                problem = "YAML is indented with spaces, this line has a tab"
            raise self._error(problem, line=mark.line + 1, column=mark.column + 1) from error
        except (YAMLError, RecursionError, ValueError) as error:
            raise self._error(f"it is not YAML: {type(error).__name__}") from error
        if node is None:
            raise self._error("the file is empty", hint="seaway deploy NAME:v3 needs no file")
        return node

    def _value(self, node: Node, path: Path) -> object:
        self._places[path] = node
        if len(path) > _MAX_DEPTH:
            raise self._error("it is nested too deeply", node)
        if node.anchor is not None or id(node) in self._seen:
            raise self._error("anchors and aliases (& and *) are not taken", node, hint="write the value out")
        self._seen.add(id(node))
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode) or not str(key.tag).startswith(_TAG) or key.anchor is not None:
                raise self._error("a key must be plain text", key)
            name = str(key.value)
            if name in found:
                first = self._keys[(*path, name)].start_mark.line + 1
                raise self._error(f"the key {name!r} is there twice, first on line {first}", key)
            self._keys[(*path, name)] = key
            found[name] = self._value(value, (*path, name))
        return found

    def _scalar(self, node: Node) -> object:
        text = str(node.value)
        try:
            match str(node.tag).removeprefix(_TAG):
                case "str" | "timestamp":  # dates and times are read where they are wanted
                    return text
                case "int":
                    return int(text.replace("_", ""), 0)
                case "float":
                    return float(text.replace("_", ""))
                case "bool":
                    return text.lower() == "true"
                case "null":
                    return None
        except ValueError as error:
            raise self._error(f"{text[:80]!r} is no number", node) from error
        raise self._error(f"the tag {node.tag} is not taken", node, hint="write plain values")

    def _explain(self, message: str) -> UserError:
        found = _PATH.search(message)
        path = _steps(found.group(1)) if found else ()
        said = message[: found.start()] if found else message
        if unknown := _UNKNOWN.search(said):
            key = unknown.group(1)
            known = _known_keys(path)
            near = difflib.get_close_matches(key, known, 1, 0.5)
            nearest = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            return self._error(
                f"unknown key {_dotted((*path, key))!r}", self._keys.get((*path, key)), hint=nearest
            )
        hint = None if "missing required field" in said else _wanted(path) or self._quoted(said, path)
        if "matching regex" in said:
            said = "the value is not of the form that is wanted"
        where = f"{_dotted(path)}: " if path else ""
        return self._error(where + said[:1].lower() + said[1:], self._nearest(path), hint=hint)

    def _quoted(self, said: str, path: Path) -> str | None:
        """How a number or a truth value is written where text is wanted."""
        node = self._places.get(path)
        if not isinstance(node, ScalarNode) or _NO_TEXT.match(said) is None:
            return None
        return f"it is text: write '{str(node.value)[:80]}' with its quotes"

    def _nearest(self, path: Path) -> Node | None:
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path)

    def _error(
        self,
        message: str,
        node: Node | None = None,
        hint: str | None = None,
        *,
        line: int | None = None,
        column: int | None = None,
    ) -> UserError:
        if node is not None:
            line, column = node.start_mark.line + 1, node.start_mark.column + 1
        place = self._name if line is None else f"{self._name}, line {line}, column {column}"
        return UserError("invalid_spec", f"{place}: {message}", hint)


def _steps(text: str) -> Path:
    """msgspec's path, such as `.rollout.steps[1]`; what follows an index that it does not name is left out."""
    steps: list[str | int] = []
    for key, index in _STEP.findall(text):
        if index == "...":
            break
        steps.append(int(index) if index else key)
    return tuple(steps)


def _dotted(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _known_keys(path: Path) -> list[str]:
    """The keys that the mapping at `path` may have."""
    kinds = _kinds(path)
    return [
        field.encode_name for kind in kinds if isinstance(kind, inspect.StructType) for field in kind.fields
    ]


def _wanted(path: Path) -> str | None:
    """What may stand at `path`, where its type says so."""
    kinds = _kinds(path, plain=False)
    for kind in _apart(kinds):
        if isinstance(kind, inspect.Metadata) and kind.extra_json_schema:
            return f"write {kind.extra_json_schema['description']}"
    choices = [
        value for kind in _flat(kinds) if isinstance(kind, inspect.LiteralType) for value in kind.values
    ]
    return f"one of: {', '.join(map(str, choices))}" if choices else None


def _kinds(path: Path, *, plain: bool = True) -> list[inspect.Type]:
    """The types that may stand at `path`; `plain` takes their descriptions off."""
    kinds: list[inspect.Type] = [inspect.type_info(Deployment)]
    for step in path:
        below: list[inspect.Type] = []
        for kind in _flat(kinds):
            if isinstance(kind, inspect.StructType) and isinstance(step, str):
                below += [field.type for field in kind.fields if field.encode_name == step]
            elif isinstance(kind, inspect.VarTupleType | inspect.ListType) and isinstance(step, int):
                below.append(kind.item_type)
        kinds = below
    return _flat(kinds) if plain else kinds


def _apart(kinds: list[inspect.Type]) -> list[inspect.Type]:
    """Each alternative by itself, with its description."""
    found: list[inspect.Type] = []
    for kind in kinds:
        found += _apart(list(kind.types)) if isinstance(kind, inspect.UnionType) else [kind]
    return found


def _flat(kinds: list[inspect.Type]) -> list[inspect.Type]:
    flat: list[inspect.Type] = []
    for kind in kinds:
        if isinstance(kind, inspect.Metadata):
            flat += _flat([kind.type])
        elif isinstance(kind, inspect.UnionType):
            flat += _flat(list(kind.types))
        else:
            flat.append(kind)
    return flat


def _anything(kind: type) -> dict[str, Any]:
    """The options of what is not built yet may be any value."""
    assert kind is object
    return {"description": "any value"}
