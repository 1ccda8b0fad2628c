"""The verbs of models and their versions: package, models, versions, show, diff, verify, image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seaway.cli import output
from seaway.cli.options import COMMON, Common, Flag, Many
from seaway.core.bundles import Task, Version
from seaway.core.errors import PermanentError, UserError

if TYPE_CHECKING:
    from seaway.bundle.store import BundleStore


def package(
    source: Annotated[
        Path,
        Parameter(help="An ONNX file, a .skops file, or a bundle: its directory or an OCI image layout."),
    ],
    /,
    *,
    name: Annotated[str, Parameter(help="The model's name; the version is its next number.")],
    sample: Annotated[Path | None, Parameter(help="Rows of inputs: CSV, JSON lines or Parquet.")] = None,
    golden: Annotated[
        Path | None, Parameter(help="Rows of inputs with the truth in column --target.")
    ] = None,
    target: Annotated[str | None, Parameter(help="The golden set's column that holds the truth.")] = None,
    require: Annotated[
        tuple[str, ...], Many, Parameter(help="A threshold for the gate: 'accuracy>=0.80'.")
    ] = (),
    lineage: Annotated[
        tuple[str, ...],
        Many,
        Parameter(help="KEY=VALUE: data=FILE, code=REVISION, param.X=…, metric.X=…, or any other."),
    ] = (),
    task: Annotated[
        Task | None, Parameter(help="What the golden metrics measure; else taken from the outputs.")
    ] = None,
    steps: Annotated[
        Path | None,
        Parameter(help="A TOML file that says how an ONNX file answers step by step (see the guide)."),
    ] = None,
    lock: Annotated[
        bool, Parameter(negative="--no-lock", help="Lock the environment with hashes (PEP 751).")
    ] = True,
    common: Common = COMMON,
) -> int:
    """Package a trained model as a new immutable version. The same input gives the same version again.

    A bundle that was packaged elsewhere is taken as it is, and keeps its digest.
    """
    from seaway.bundle.lineage import split_pair
    from seaway.wiring import packaging
    from seaway.wiring.home import Home

    if (golden is None) != (target is None):
        raise UserError(
            "invalid_request", "--golden and --target belong together", "--golden FILE --target COLUMN"
        )
    with output.progress(common.json) as progress:
        result = packaging.package_files(
            Home(common.configuration()),
            source,
            name=name,
            sample=sample,
            golden=golden,
            target=target,
            requirements=require,
            lineage=dict(split_pair(text) for text in lineage),
            task=task,
            rules=steps,
            lock=lock,
            progress=progress,
        )
    if common.json:
        output.print_json({"created": result.created, "version": result.version, "parity": result.parity})
        return 0
    version = result.version
    done = "packaged" if result.created else "already there:"
    output.say(
        f"[green]{done}[/] [bold]{version.ref}[/]  {version.digest}  {output.human_bytes(version.size_bytes)}"
    )
    if result.parity is not None:
        output.say(f"parity  {output.plain(result.parity.summary())}")
    output.note(f"next: seaway validate {version.ref}")
    return 0


def models(*, common: Common = COMMON) -> int:
    """The models of this home, each with its newest version."""
    from seaway.wiring.home import Home

    bundles = Home(common.configuration()).bundles
    found, damaged = _readable(bundles)
    for name, error in damaged:
        output.note(f"[red]damaged[/] {name}: {output.plain(error.message)}  [dim]({error.code})[/]")
    if common.json:
        output.print_json([{"name": name, "versions": len(v), "newest": v[-1]} for name, v in found])
        return 0
    if not found and not damaged:
        output.note("no models yet; begin with: seaway package model.onnx --name NAME")
        return 0
    rows = [(name, len(v), str(v[-1].ref), v[-1].created_at, v[-1].digest[:19]) for name, v in found]
    output.table(None, ("model", "versions", "newest", "packaged", "digest"), rows)
    return 0


def _readable(
    bundles: BundleStore,
) -> tuple[list[tuple[str, list[Version]]], list[tuple[str, PermanentError]]]:
    """The models with their versions, and those whose index cannot be read, with the reason."""
    found, damaged = [], []
    for name in bundles.models():
        try:
            found.append((name, bundles.versions(name)))
        except PermanentError as error:
            damaged.append((name, error))
    return found, damaged


def versions(name: Annotated[str, Parameter(help="The model.")], /, *, common: Common = COMMON) -> int:
    """All versions of a model, oldest first, with the verdict of their last gate."""
    from seaway.wiring import gates
    from seaway.wiring.home import Home

    home = Home(common.configuration())
    found = home.bundles.versions(name)
    if common.json:
        output.print_json(found)
        return 0
    rows = []
    for version in found:
        report = gates.last_report(home, version)
        gate = "not validated" if report is None else report.verdict.value
        rows.append(
            (
                str(version.ref),
                version.created_at,
                output.human_bytes(version.size_bytes),
                gate,
                version.digest,
            )
        )
    output.table(None, ("version", "packaged", "size", "gate", "digest"), rows)
    return 0


def show(
    ref: Annotated[str, Parameter(help="NAME:v3 or NAME@sha256:….")], /, *, common: Common = COMMON
) -> int:
    """What a version takes and gives, what it was made of, and what its checks found."""
    from seaway.cli import versions_view
    from seaway.wiring import gates
    from seaway.wiring.home import Home

    home = Home(common.configuration())
    version = home.version(ref)
    manifest = home.bundles.manifest(version)
    report, parity = gates.last_report(home, version), gates.parity(home, version)
    if common.json:
        output.print_json({"version": version, "manifest": manifest, "gate": report, "parity": parity})
        return 0
    versions_view.show(version, manifest, report, parity, gates.page_path(home, version))
    return 0


def diff(
    old: Annotated[str, Parameter(help="NAME:v2")],
    new: Annotated[str, Parameter(help="NAME:v3")],
    /,
    *,
    common: Common = COMMON,
) -> int:
    """What differs between two versions: signature, files, lineage, requirements, environment."""
    from seaway.cli import versions_view
    from seaway.wiring import packaging
    from seaway.wiring.home import Home

    home = Home(common.configuration())
    changes = packaging.difference(home, home.version(old), home.version(new))
    if common.json:
        output.print_json(changes)
        return 0
    versions_view.changes(changes)
    return 0


def verify(
    ref: Annotated[str | None, Parameter(help="NAME:v3; all versions when omitted.")] = None,
    /,
    *,
    all_: Annotated[bool, Flag, Parameter(name="--all", help="Every version of every model.")] = False,
    common: Common = COMMON,
) -> int:
    """Check every stored byte against its digest; exits 1 where one differs."""
    from seaway.wiring.home import Home

    if ref is not None and all_:
        raise UserError("invalid_request", "name a version or --all, not both", "seaway verify NAME:v3")
    home = Home(common.configuration())
    bundles = home.bundles
    if ref is not None:
        chosen = [home.version(ref)]
        problems = bundles.verify(chosen[0])
    else:
        chosen = [version for _, found in _readable(bundles)[0] for version in found]
        problems = bundles.verify(None)
    if common.json:
        output.print_json({"verified": [str(version.ref) for version in chosen], "problems": problems})
    else:
        for problem in problems:
            output.say(
                f"[red]damaged[/] {problem.ref}: {output.plain(problem.message)}  [dim]({problem.code})[/]"
            )
        damaged = {problem.ref for problem in problems}
        output.say(f"{len(chosen)} versions verified, {len(damaged)} damaged")
    return 1 if problems else 0


def image(
    ref: Annotated[str, Parameter(help="NAME:v3")],
    /,
    *,
    out: Annotated[Path, Parameter(name=["--output", "-o"], help="A new or empty directory.")],
    common: Common = COMMON,
) -> int:
    """Write a Dockerfile and all it needs, so that the image builds without a network."""
    from seaway.wiring import packaging
    from seaway.wiring.home import Home

    home = Home(common.configuration())
    with output.progress(common.json) as progress:
        context = packaging.image(home, home.version(ref), out, progress)
    if common.json:
        output.print_json(context)
        return 0
    output.say(
        f"[green]written[/] {output.plain(out)}  ({context.wheels} wheels, {output.human_bytes(context.size_bytes)})"
    )
    tag = context.ref.partition("@")[0].replace(":", "-")
    output.note(
        f"next: podman build --build-arg BASE={context.base} -t {output.plain(tag)} {output.plain(out)}"
    )
    return 0
