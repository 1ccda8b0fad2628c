"""A build context for a container image of one version; called by `seaway image` through wiring.

The context holds all that the build needs, so that it needs no network: the bundle, the wheels of its environment
lock, Seaway's own wheel, and a Dockerfile whose base image is a build argument. Nothing in it needs a shell, pip or
ensurepip in the base: pip runs out of its own wheel.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway import settings
from seaway.bundle import blobs, environment, oci, sources
from seaway.core.bundles import OpenedBundle
from seaway.core.errors import PermanentError, TemporaryError, UserError

_TIMEOUT_S: Final = 900
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_USER: Final = 65532
_SELF: Final = "seaway"


class ImageContext(msgspec.Struct, frozen=True):
    """A written context: where, of what version, the base image it asks for, how many wheels, and its size."""

    directory: str
    ref: str
    digest: str
    base: str
    wheels: int
    size_bytes: int


def write_context(
    bundle: OpenedBundle, lock: bytes, out: Path, wheel_cache: Path, progress: Callable[[str], None]
) -> ImageContext:
    """Write the build context of a version into `out`, a new or empty directory; all of it or nothing.

    `lock` is PEP 751; its wheels come from `wheel_cache`, and what lacks there from the package index. The same
    version, lock and Seaway give the same bytes. Blocking, minutes where wheels must be fetched. Raises
    `UserError("image_unavailable")` where `out` holds something, `TemporaryError("image_unavailable")` where wheels
    are missing and no index answers, `PermanentError("digest_mismatch")` for a damaged bundle.
    """
    out = out.absolute()  # pip, which collects the wheels, works in a directory of its own
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            "image_unavailable", f"{out} is not an empty directory", "name a new directory with -o"
        )
    with blobs.disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        # A directory that is there stays the same one: it may be somebody's working directory, or a mount.
        scratch = Path(tempfile.mkdtemp(prefix=".seaway-image-", dir=out if out.exists() else out.parent))
        try:
            progress("copying the bundle")
            _copy_bundle(bundle, scratch / "bundle")
            (scratch / "pylock.toml").write_bytes(lock)
            wheels = scratch / "wheels"
            progress("collecting wheels")
            _collect_wheels(lock, wheel_cache, wheels)
            own = own_wheel(wheels)
            digest = hashlib.sha256(own.read_bytes()).hexdigest()
            requirements = environment.hashed_requirements(lock)
            requirements += f"{_SELF}=={_distribution().version} --hash=sha256:{digest}\n"
            (scratch / "requirements.txt").write_text(requirements, "utf-8")
            (scratch / "Dockerfile").write_text(_dockerfile(bundle, lock, wheels), "utf-8")
            (scratch / ".dockerignore").write_text(_DOCKERIGNORE, "utf-8")
            for path in (scratch, *scratch.rglob("*")):  # the image's user is not the one who builds it
                path.chmod(0o755 if path.is_dir() else 0o644)
            _move(scratch, out)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    files = [path for path in out.rglob("*") if path.is_file()]
    return ImageContext(
        directory=str(out),
        ref=bundle.ref,
        digest=bundle.digest,
        base=_base(lock),
        wheels=sum(path.suffix == ".whl" for path in files),
        size_bytes=sum(path.stat().st_size for path in files),
    )


def _move(scratch: Path, out: Path) -> None:
    if not out.exists():
        scratch.rename(out)
        return
    moved: list[Path] = []
    try:
        for path in sorted(scratch.iterdir()):
            path.rename(out / path.name)
            moved.append(out / path.name)
    except BaseException:
        for path in moved:
            path.rename(scratch / path.name)
        raise


def _python(lock: bytes) -> str:
    """The Python of a lock, such as `3.12`."""
    wanted: str = tomllib.loads(lock.decode("utf-8"))["requires-python"]
    return wanted.removeprefix("==").removesuffix(".*")


def _base(lock: bytes) -> str:
    return f"python:{_python(lock)}-slim"


def own_wheel(directory: Path) -> Path:
    """A wheel of the Seaway that runs now, made of its installed files, editable or not; equal files give equal bytes.

    PyPA binary distribution format 1.0: stored, sorted, with a constant time and no bytecode.
    """
    distribution = _distribution()
    package = Path(__file__).resolve().parents[1]
    info = f"{_SELF}-{distribution.version}.dist-info"
    files = {
        f"{_SELF}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for name in ("METADATA", "entry_points.txt"):
        text = distribution.read_text(name)
        if text is None:
            raise PermanentError(
                "image_unavailable", f"the installed Seaway lacks its {name}", "install it again"
            )
        files[f"{info}/{name}"] = text.encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: seaway\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    rows = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in sorted(files.items())]
    files[f"{info}/RECORD"] = ("\n".join([*rows, f"{info}/RECORD,,"]) + "\n").encode()
    target = directory / f"{_SELF}-{distribution.version}-py3-none-any.whl"
    target.write_bytes(_zip(files))
    return target


def _distribution() -> importlib.metadata.Distribution:
    return importlib.metadata.distribution(_SELF)


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def _zip(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files, key=lambda name: (".dist-info/" in name, name)):
            entry = zipfile.ZipInfo(name, date_time=_EPOCH)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


def _copy_bundle(bundle: OpenedBundle, target: Path) -> None:
    source = Path(bundle.directory)
    target.mkdir()
    for file in bundle.manifest.files:
        path = target / oci.safe_path(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file.path, path)
    shutil.copyfile(source / oci.MANIFEST_FILE, target / oci.MANIFEST_FILE)
    copied = sources.open_directory(target)  # checks every byte
    if copied.digest != bundle.digest:
        raise PermanentError(
            "digest_mismatch", f"the copy of {bundle.ref} is {copied.digest}, expected {bundle.digest}"
        )


def _collect_wheels(lock: bytes, cache: Path, target: Path) -> None:
    """The wheels that the lock names, from the cache, after fetching into it what is not there."""
    cache.mkdir(parents=True, exist_ok=True)
    requirements = environment.hashed_requirements(lock)
    offline = ["--no-index", "--find-links", str(cache)]
    if _download(requirements, target, offline) is None:
        return
    failure = _download(requirements, cache, [])
    if failure is not None:
        # a mirror on this machine may lack what the lock names; the index that pip asks by itself may have it
        failure = _download(requirements, cache, [], settings.environment_without_pip_configuration())
    failure = failure or _download(requirements, target, offline)
    if failure is not None:
        raise TemporaryError(
            "image_unavailable",
            f"the wheels of the environment lock are not to be had: {failure}",
            "try again where a package index answers",
            retry_after_s=60,
        )


def _download(
    requirements: str, target: Path, options: Sequence[str], env: Mapping[str, str] | None = None
) -> str | None:
    """Download with hashes checked; None when all is there, else pip's reason."""
    with tempfile.TemporaryDirectory(prefix="seaway-wheels-") as scratch:
        listed = Path(scratch) / "requirements.txt"
        listed.write_text(requirements, "utf-8")
        command = [
            sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--no-input",
            "--only-binary", ":all:", "--disable-pip-version-check", *options, "-d", str(target), "-r", str(listed),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=_TIMEOUT_S, check=False, cwd=scratch, env=env
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {_TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return next((line for line in reversed(lines) if line.startswith("ERROR")), "pip download failed")[:300]


def _dockerfile(bundle: OpenedBundle, lock: bytes, wheels: Path) -> str:
    """The Dockerfile. Exec forms throughout: the base need not have a shell."""
    pip = next((path.name for path in sorted(wheels.glob("pip-*.whl"))), None)
    if pip is None:
        raise PermanentError(
            "image_unavailable", "the environment lock does not name pip", "package the version again"
        )
    labels = {
        "org.opencontainers.image.title": bundle.ref,
        "org.opencontainers.image.version": bundle.ref.rpartition(":")[2],
        "org.opencontainers.image.description": f"{bundle.ref}, served by Seaway {_distribution().version}",
        "org.opencontainers.image.revision": bundle.manifest.lineage.code,
        "io.seaway.digest": bundle.digest,
        "io.seaway.readiness": "/v2/health/ready",
    }
    label = " \\\n      ".join(f"{name}={_quoted(value)}" for name, value in labels.items() if value)
    return _DOCKERFILE.format(
        ref=bundle.ref.replace("\n", " "),
        python=f"python{_python(lock)}",
        base=_base(lock),
        pip=pip,
        label=label,
        user=_USER,
        name=bundle.manifest.name,
    )


def _quoted(text: str) -> str:
    """A label's value: nothing in it ends the string, the line, or is taken for a variable."""
    flat = " ".join(text.split())
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


_DOCKERIGNORE: Final = """\
*
!bundle
!wheels
!requirements.txt
"""

_DOCKERFILE: Final = """\
# {ref}. Builds without a network: all it needs is in this directory.
#   podman build --network=none -t NAME .
# BASE is any image with {python} and the C++ runtime for this processor; pin yours by digest.
#   podman build --build-arg BASE=YOUR/IMAGE@sha256:… -t NAME .
# Runs as user {user} and writes to /tmp alone. Ready when GET /v2/health/ready answers 200; SIGTERM drains.
ARG BASE={base}

FROM ${{BASE}} AS build
COPY wheels /build/wheels
COPY requirements.txt /build/requirements.txt
RUN ["{python}", "-m", "venv", "--without-pip", "/opt/seaway"]
RUN ["/opt/seaway/bin/python", "/build/wheels/{pip}/pip", "install", "--quiet", "--no-cache-dir", "--no-index", \
"--no-deps", "--require-hashes", "--find-links", "/build/wheels", "-r", "/build/requirements.txt"]

FROM ${{BASE}}
LABEL {label}
COPY --from=build /opt/seaway /opt/seaway
COPY bundle /bundle
# An orchestrator calls from outside the container; who may reach the port is its business.
ENV SEAWAY_ALLOW_OPEN=1 SEAWAY_HOME=/tmp/seaway PYTHONUNBUFFERED=1
USER {user}:{user}
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/seaway/bin/seaway", "serve", "/bundle", "--name", "{name}"]
CMD ["--http", "0.0.0.0:8080"]
"""
