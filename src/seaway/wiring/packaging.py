"""Packaging with its parts put in: what the verbs `package`, `diff` and `image`, and the Python API, call."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from seaway.bundle import build, datafiles, environment, imports, lineage, steps
from seaway.bundle import difference as differences
from seaway.bundle import image as images
from seaway.bundle.difference import Change
from seaway.bundle.image import ImageContext
from seaway.core.bundles import Task, Tolerance, Version
from seaway.core.checks import Requirement
from seaway.core.errors import UserError
from seaway.core.steps import StepRules
from seaway.core.tables import Table
from seaway.validate import suite
from seaway.wiring import adapters
from seaway.wiring.home import Home


def package_files(
    home: Home,
    source: Path,
    *,
    name: str,
    sample: Path | None,
    golden: Path | None,
    target: str | None,
    requirements: Sequence[str],
    lineage: Mapping[str, str],
    task: Task | None,
    rules: Path | None,
    lock: bool,
    progress: Callable[[str], None],
) -> build.PackageResult:
    """Package a model file with data files, or take a bundle as it is, under the digest that it has.

    See `bundle.build.package` and `bundle.imports.take` for what they raise.
    """
    if not source.exists():
        raise UserError("file_not_found", f"{source} does not exist", "name an ONNX file or a .skops file")
    if imports.holds_bundle(source):
        if sample or golden or requirements or lineage or task or rules:
            raise UserError(
                "invalid_request",
                f"{source} is a bundle, and taken as it is: with the sample, golden set, requirements and steps that it has",
                f"seaway package {source} --name {name}",
            )
        progress("checking the bundle")
        return imports.take(source, name, home.bundles)
    readers = adapters.table_readers()
    return package(
        home,
        source,
        name=name,
        sample=None if sample is None else datafiles.DataFile.open(sample, readers),
        golden=None if golden is None else datafiles.DataFile.open(golden, readers),
        target=target,
        requirements=requirements,
        lineage_pairs=lineage,
        task=task,
        tolerance=Tolerance(),
        rules=None if rules is None else steps.read_rules(rules),
        lock=lock,
        progress=progress,
    )


def package(
    home: Home,
    source: object,
    *,
    name: str,
    sample: Table | datafiles.DataFile | None,
    golden: Table | datafiles.DataFile | None,
    target: str | None,
    requirements: Sequence[str],
    lineage_pairs: Mapping[str, str],
    task: Task | None,
    tolerance: Tolerance,
    rules: StepRules | None,
    lock: bool,
    progress: Callable[[str], None],
) -> build.PackageResult:
    """Package a live model or a file as a version of this home."""
    _check_metrics(requirements)
    request = build.Package(
        source=source,
        name=name,
        sample=sample,
        golden=golden,
        target=target,
        requirements=requirements,
        lineage=lineage.parse_lineage(lineage_pairs),
        task=task,
        tolerance=tolerance,
        steps=rules,
    )
    locks = home.directory / "cache" / "locks"
    tools = build.Tools(
        store=home.bundles,
        runtime=home.runtime,
        converters=adapters.converters(),
        lock=(lambda: environment.environment_lock(locks)) if lock else None,
    )
    return build.package(request, tools, progress)


def difference(home: Home, old: Version, new: Version) -> tuple[Change, ...]:
    """What differs between two versions."""
    return differences.difference(
        home.bundles.manifest(old), home.bundles.manifest(new), (_lock(home, old), _lock(home, new))
    )


def image(home: Home, version: Version, out: Path, progress: Callable[[str], None]) -> ImageContext:
    """The build context of a version; a version that was packaged without a lock gets that of this environment."""
    lock = _lock(home, version)
    if lock is None:
        progress("locking the environment")
        lock = environment.environment_lock(home.directory / "cache" / "locks")
    return images.write_context(
        home.bundles.open(version), lock, out, home.directory / "cache" / "wheels", progress
    )


def _lock(home: Home, version: Version) -> bytes | None:
    opened = home.bundles.open(version)
    path = opened.manifest.environment
    return None if path is None else (Path(opened.directory) / path).read_bytes()


def _check_metrics(requirements: Sequence[str]) -> None:
    """A version never changes, so a requirement that no gate can judge must not get into one."""
    known = suite.requirement_metrics()
    for text in requirements:
        metric = Requirement.parse(text).metric
        if metric not in known:
            near = difflib.get_close_matches(metric, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(
                "invalid_requirement", f"there is no metric {metric!r}", f"{hint}metrics: {', '.join(known)}"
            )
