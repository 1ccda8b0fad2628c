"""The environment lock of a bundle: PEP 751, with hashes, of what serves it (Seaway's own dependency closure).

Called by wiring, which hands `bundle.build` a function that gives the lock. The package index is pip's own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from packaging.pylock import Pylock, PylockValidationError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from seaway import settings
from seaway.bundle import blobs
from seaway.core.errors import PermanentError, TemporaryError

LOCK_FILE: Final = "pylock.toml"
_TIMEOUT_S: Final = 300
_SELF: Final = "seaway"
_KEPT: Final = ("name", "version", "wheels", "sdist")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


def environment_lock(cache: Path) -> bytes:
    """The lock of this interpreter's serving environment.

    Asks the index once per closure; `cache` (HOME/cache/locks) keeps the answer. Blocks, for up to minutes the
    first time. Raises `TemporaryError("lock_unavailable")` where no index answers.
    """
    pins = pinned_closure()
    key = "\n".join([*(f"{n}=={v}" for n, v in pins.items()), platform.python_version(), _marker()])
    path = cache / f"{hashlib.sha256(key.encode()).hexdigest()}.toml"
    if path.exists():
        return path.read_bytes()
    with blobs.disk_errors(cache), tempfile.TemporaryDirectory(prefix="seaway-lock-") as scratch:
        cache.mkdir(parents=True, exist_ok=True)
        encoded = canonical_lock(_locked(pins, Path(scratch)), pins)
        blobs.replace_file(path, encoded)
        blobs.sync(cache)
    return encoded


def pinned_closure(root: str = _SELF) -> dict[str, str]:
    """Every distribution that `root` needs, by name, with the version installed here; sorted, without `root`."""
    pins: dict[str, str] = {}
    pending: list[tuple[str, frozenset[str]]] = [(root, frozenset())]
    done: set[tuple[str, frozenset[str]]] = set()
    while pending:
        item = pending.pop()
        if item in done:
            continue
        done.add(item)
        name, extras = item
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise PermanentError(
                "lock_unavailable", f"{name} is needed and not installed", "install Seaway again"
            ) from error
        if name != root:
            pins[canonicalize_name(name)] = distribution.version
        for text in distribution.requires or ():
            requirement = Requirement(text)
            wanted = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in (*extras, "")
            )
            if wanted:
                pending.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return dict(sorted(pins.items()))


def canonical_lock(found: Mapping[str, Any], pins: Mapping[str, str]) -> bytes:
    """A lock file of exactly `pins`, sorted, valid by PEP 751, with hashes; equal locks give equal bytes.

    Raises `PermanentError("lock_unavailable")` where the lock lacks a package, or a file without a hash or URL.
    """
    packages = []
    for package in found.get("packages", ()):
        kept = {key: package[key] for key in _KEPT if key in package}
        files = [*kept.get("wheels", ()), *([kept["sdist"]] if "sdist" in kept else ())]
        if not files or not all(file.get("hashes") and file.get("name") for file in files):
            raise PermanentError(
                "lock_unavailable",
                f"{kept.get('name')} was not installed from a package index, so others could not install it",
                "install its released version, or package with --no-lock",
            )
        for file in files:
            file.pop("upload-time", None)
            if "path" in file or _local(file.get("url", "")):
                # a local mirror's location says nothing elsewhere: the file is named, and its hash decides
                file.pop("url", None)
                file["path"] = f"wheels/{file['name']}"
            else:
                file["url"] = _without_credentials(file["url"])
        packages.append(kept)
    packages.sort(key=lambda package: str(package["name"]))
    locked = {canonicalize_name(p["name"]): p["version"] for p in packages}
    if locked != dict(pins):
        strange = sorted({*locked.items()} ^ {*pins.items()})
        raise PermanentError("lock_unavailable", f"the lock and the environment differ in {strange[:5]}")
    lock = {
        "lock-version": "1.0",
        "environments": [_marker()],
        "requires-python": f"=={'.'.join(platform.python_version_tuple()[:2])}.*",
        "created-by": "seaway",
        "packages": packages,
    }
    encoded = _toml(lock)
    try:
        Pylock.from_dict(tomllib.loads(encoded)).validate()
    except PylockValidationError as error:
        raise PermanentError("lock_unavailable", f"pip made a lock that is not valid: {error}") from error
    return encoded.encode()


def hashed_requirements(lock: bytes) -> str:
    """A lock as pip's hash-checked requirements, which install the same files from any index or folder of wheels."""
    lines = []
    for package in tomllib.loads(lock.decode("utf-8"))["packages"]:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        hashes = "".join(
            f" --hash={name}:{digest}" for file in files for name, digest in file["hashes"].items()
        )
        lines.append(f"{package['name']}=={package['version']}{hashes}\n")
    return "".join(lines)


def _locked(pins: Mapping[str, str], scratch: Path) -> dict[str, Any]:
    """What pip locks, by the public index where this machine's pip would take files from a mirror on its own disk."""
    found = _pip_lock(pins, scratch)
    if any(
        _local(wheel.get("url", "")) for package in found["packages"] for wheel in package.get("wheels", ())
    ):
        try:
            return _pip_lock(pins, scratch, settings.environment_without_pip_configuration())
        except TemporaryError:
            return found  # the mirror is all that can be reached: its files are locked by name and hash
    return found


def _pip_lock(
    pins: Mapping[str, str], scratch: Path, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    wanted, output = scratch / "requirements.txt", scratch / LOCK_FILE
    wanted.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), "utf-8")
    command = [
        sys.executable, "-P", "-m", "pip", "lock", "--no-deps", "--quiet", "--disable-pip-version-check",
        "--no-input", "--only-binary", ":all:", "-r", str(wanted), "-o", str(output),
    ]  # fmt: skip
    hint = "try again where a package index answers, or package with --no-lock"
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_TIMEOUT_S, check=False, cwd=scratch, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(
            "lock_unavailable",
            f"the package index did not answer within {_TIMEOUT_S} s",
            hint,
            retry_after_s=60,
        ) from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = next((line for line in reversed(lines) if line.startswith("ERROR")), "pip lock failed")
        raise TemporaryError("lock_unavailable", f"no lock: {reason[:300]}", hint, retry_after_s=60)
    return tomllib.loads(output.read_text("utf-8"))


def _marker() -> str:
    version = ".".join(platform.python_version_tuple()[:2])
    return (
        f"python_version == '{version}' and sys_platform == '{sys.platform}' "
        f"and platform_machine == '{platform.machine()}'"
    )


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _local(url: str) -> bool:
    return not url.startswith(("https://", "http://"))


def _toml(lock: Mapping[str, Any]) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in lock.items() if key != "packages"]
    for package in lock["packages"]:
        lines += ["", "[[packages]]", *(f"{key} = {_value(package[key])}" for key in _KEPT if key in package)]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(one) for one in value)}]"
    if isinstance(value, Mapping):
        inner = (f"{k if _BARE_KEY.match(k) else _value(k)} = {_value(v)}" for k, v in sorted(value.items()))
        return f"{{{', '.join(inner)}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)
