"""The use case *package*: a model, a sample and a golden set become a version in the store.

Called by the command line and the Python API. What touches frameworks comes in as values: converters, a
runtime, a function that gives the environment lock.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from seaway.bundle import asking, blobs, datafiles, environment, oci, parity, scan, signatures, verify_onnx
from seaway.bundle.card import model_card
from seaway.bundle.steps import FORMAT as STEPS_FORMAT
from seaway.bundle.steps import check_golden, check_growth, client_signature
from seaway.bundle.store import Attachment, BundleStore
from seaway.core.bundles import (
    BundleFile,
    Golden,
    Lineage,
    Manifest,
    OpenedBundle,
    Source,
    Task,
    Tolerance,
    Version,
    parse_name,
)
from seaway.core.checks import Requirement
from seaway.core.errors import SeawayError, UserError
from seaway.core.ports import Candidate, Converter, Runtime, SourceModel
from seaway.core.profiles import ReferenceProfile, encode_profile, profile
from seaway.core.steps import StepRules, Steps
from seaway.core.tables import Table, table_to_tensors
from seaway.core.tensors import Array, Meaning, Signature, Tensors

SAMPLE_FILE: Final = "sample.jsonl"
GOLDEN_FILE: Final = "golden.jsonl"
PROFILE_FILE: Final = "profile.json"
CARD_FILE: Final = "README.md"
PARITY_KIND: Final = "parity"
PARITY_TYPE: Final = "application/vnd.seaway.parity.v1+json"
SAMPLE_ROWS: Final = 1_000
"""A bundle keeps at most so many rows of the sample; parity and the profile see all of it."""


class Package(msgspec.Struct, frozen=True):
    """What to package. `source` is a live model or a path; `target` names the golden set's column of truth.

    Files of rows are parsed once the model's Signature is known, so that what feeds a string input stays text. `steps`
    makes an ONNX file a model that answers step by step.
    """

    source: object
    name: str
    sample: Table | datafiles.DataFile | None = None
    golden: Table | datafiles.DataFile | None = None
    target: str | None = None
    requirements: Sequence[str] = ()
    lineage: Lineage = Lineage()
    task: Task | None = None
    tolerance: Tolerance = Tolerance()
    steps: StepRules | None = None


class Tools(msgspec.Struct, frozen=True):
    """What packaging works with. `lock` gives the environment lock; None leaves it out."""

    store: BundleStore
    runtime: Runtime
    converters: Sequence[Converter] = ()
    lock: Callable[[], bytes] | None = None


class PackageResult(msgspec.Struct, frozen=True):
    """`created` is False where the store had these very bytes already; `parity` is None for ONNX sources."""

    version: Version
    created: bool
    parity: parity.ParityReport | None
    manifest: Manifest


class _Rows(msgspec.Struct, frozen=True):
    """The sample and the golden set of a package, parsed."""

    sample: Table | None
    golden: Table | None
    target: str | None

    @property
    def inputs(self) -> Table | None:
        """The sample, else the golden rows without their truth."""
        if self.sample is None and self.golden is not None and self.target is not None:
            return self.golden.without(self.target)
        return self.sample


class _Built(msgspec.Struct, frozen=True):
    """The model half of a bundle."""

    files: Mapping[str, bytes | Path]
    signature: Signature
    source: Source
    task: Task
    classes: tuple[str | int, ...]
    sample: Table | None
    golden: Table | None
    parity: parity.ParityReport | None = None
    steps: Steps | msgspec.UnsetType = msgspec.UNSET


def package(request: Package, tools: Tools, on_step: Callable[[str], None] = lambda _: None) -> PackageResult:
    """Package a model as a version. The same input gives the same bytes, and so the version that is there already.

    `on_step` hears one line before each step. Raises `UserError` (`conversion_refused` with the parity report,
    `format_not_allowed`, `invalid_model`, `sample_required`, `invalid_data`, `invalid_requirement` …) and
    `TemporaryError` (`lock_unavailable`, `disk_full`); then nothing is stored.
    """
    parse_name(request.name)
    requirements = tuple(str(Requirement.parse(text)) for text in request.requirements)
    if (request.golden is None) != (request.target is None):
        raise UserError(
            "invalid_data",
            "a golden set needs a target column, and a target a golden set",
            "--golden FILE --target COLUMN",
        )
    with tempfile.TemporaryDirectory(prefix="seaway-package-") as scratch:
        work = Path(scratch)
        built = _build_model(request, tools, work, on_step)
        files: dict[str, bytes | Path] = dict(built.files)
        golden = _golden(built.golden, request.target, files)
        sample = built.sample
        if sample is not None:
            files[SAMPLE_FILE] = datafiles.write_jsonl(sample.take(slice(0, SAMPLE_ROWS)))
            on_step("running the sample")
            files[PROFILE_FILE] = encode_profile(_profile(built, sample, tools.runtime, work))
        if tools.lock is not None:
            on_step("locking the environment")
            files[environment.LOCK_FILE] = tools.lock()
        manifest = Manifest(
            name=request.name,
            task=built.task,
            entry=verify_onnx.ENTRY,
            signature=built.signature,
            source=built.source,
            files=(),
            classes=built.classes,
            tolerance=request.tolerance,
            lineage=request.lineage,
            requirements=requirements,
            golden=golden,
            sample=SAMPLE_FILE if sample is not None else None,
            profile=PROFILE_FILE if sample is not None else None,
            environment=environment.LOCK_FILE if tools.lock is not None else None,
            format=STEPS_FORMAT if built.steps else "onnx",
            steps=built.steps,
        )
        files[CARD_FILE] = model_card(manifest)
        manifest = msgspec.structs.replace(manifest, files=_listed(files))
        attachments = []
        if built.parity is not None:
            attachments.append(Attachment(PARITY_KIND, PARITY_TYPE, parity.encode_report(built.parity)))
        on_step("storing the bundle")
        version, created = tools.store.add(files, manifest, attachments)
    return PackageResult(version, created, built.parity, manifest)


def _rows(request: Package, signature: Signature | None = None) -> _Rows:
    sample, golden, target = request.sample, request.golden, request.target
    if isinstance(sample, datafiles.DataFile):
        sample = sample.table(signature)
    if isinstance(golden, datafiles.DataFile):
        golden = golden.table(signature, besides=target)
    if golden is not None and target not in golden.columns:
        raise UserError(
            "invalid_data",
            f"the golden set has no column {target!r}",
            f"it has {list(golden.names)[:30]}",
        )
    for what, table in (("sample", sample), ("golden set", golden)):
        if table is not None and table.rows == 0:
            raise UserError("invalid_data", f"the {what} has no rows")
    return _Rows(sample, golden, target)


def _build_model(request: Package, tools: Tools, work: Path, on_step: Callable[[str], None]) -> _Built:
    if isinstance(request.source, (str, Path)):
        path = Path(request.source)
        on_step(f"reading {path}")
        if scan.identify(path) == scan.ONNX:
            return _build_onnx(request, path, work)
        source: object = path
    else:
        source = request.source
    if request.steps is not None:
        raise UserError(
            "invalid_steps",
            "only an ONNX file can be run step by step",
            "export the model to ONNX, and package that",
        )
    for converter in tools.converters:
        model = converter.open(source)
        if model is not None:
            return _build_converted(request, _rows(request), model, tools.runtime, work, on_step)
    raise UserError(
        "unsupported_model",
        f"nothing here can turn {type(source).__module__}.{type(source).__name__} into ONNX",
        "scikit-learn models need: pip install 'seaway[sklearn]'; others: export to ONNX and package that file",
    )


def _build_onnx(request: Package, path: Path, work: Path) -> _Built:
    directory = work / "onnx"
    directory.mkdir()
    report = verify_onnx.verify_onnx(path, directory)
    graph = signatures.infer_signature(report)
    stepped = Steps(request.steps, graph) if request.steps else msgspec.UNSET
    if isinstance(stepped, Steps):
        check_growth(stepped.rules, report)
        rows = _rows(request, client_signature(stepped))
        if rows.golden is not None:
            check_golden(stepped.rules, columns=len(rows.golden.names) - 1)
        signature = client_signature(stepped, rows.inputs)
    else:
        rows = _rows(request, graph)
        signature = signatures.infer_signature(report, rows.inputs)
    files: dict[str, bytes | Path] = {verify_onnx.ENTRY: directory / verify_onnx.ENTRY}
    files |= {name: directory / name for name in report.external}
    versions = {f"opset {domain}": str(number) for domain, number in report.opsets.items()}
    return _Built(
        files,
        signature,
        Source("onnx", f"ONNX by {report.producer}" if report.producer else "ONNX", versions),
        request.task or signatures.infer_task(signature),
        tuple(report.classes),
        rows.inputs,
        rows.golden,
        steps=stepped,
    )


def _build_converted(
    request: Package,
    rows: _Rows,
    model: SourceModel,
    runtime: Runtime,
    work: Path,
    on_step: Callable[[str], None],
) -> _Built:
    if rows.inputs is None:
        raise UserError(
            "sample_required",
            f"{model.description} can only be converted, and the conversion proved, with a sample of its inputs",
            "sample=X in Python, --sample FILE on the command line; 1,000 rows or more are best",
        )
    sample = model.align(rows.inputs)
    golden = rows.golden
    if golden is not None and rows.target is not None:
        aligned = model.align(golden.without(rows.target))
        golden = Table({**aligned.columns, rows.target: golden.columns[rows.target]})
    numbers = parity.choose_rows(sample)
    compared = sample.take(numbers)
    expected = model.predict(compared)
    tried: list[parity.CandidateParity] = []
    for candidate in model.candidates(sample):
        on_step(f"proving the conversion ({candidate.label}) on {compared.rows:,} rows")
        directory = work / candidate.label
        directory.mkdir()
        one = _prove(candidate, directory, runtime, compared, expected, numbers, request.tolerance)
        tried.append(one)
        if one.passed:
            report = _parity_report(tried, candidate.label, request.tolerance, compared, sample)
            return _Built(
                {verify_onnx.ENTRY: directory / verify_onnx.ENTRY},
                candidate.signature,
                Source(model.kind, model.description, {**model.versions, "arithmetic": candidate.label}),
                request.task or model.task,
                tuple(model.classes),
                sample,
                golden,
                report,
            )
    report = _parity_report(tried, None, request.tolerance, compared, sample)
    raise ConversionRefused(report)


class ConversionRefused(UserError):
    """`conversion_refused`, with the parity report of every candidate."""

    def __init__(self, report: parity.ParityReport) -> None:
        super().__init__(
            "conversion_refused",
            f"the converted model does not answer like the source\n{parity.describe(report)}",
            "if these differences do not matter to you, package it from Python with a wider tolerance:\n"
            "seaway.package(model, …, tolerance=seaway.Tolerance(absolute=…, relative=…, label_agreement=…))",
        )
        self.report = report


def _prove(
    candidate: Candidate,
    directory: Path,
    runtime: Runtime,
    compared: Table,
    expected: Tensors,
    numbers: Array,
    tolerance: Tolerance,
) -> parity.CandidateParity:
    raw = directory / "converted.onnx"
    raw.write_bytes(candidate.onnx)
    try:
        verify_onnx.verify_onnx(raw, directory)
        model = runtime.load(_unstored(directory, candidate.signature))
        try:
            return parity.compare(
                candidate.label,
                model,
                candidate.signature,
                compared,
                expected,
                np.asarray(numbers, dtype=np.int64),
                tolerance,
            )
        finally:
            model.close()
    except SeawayError as error:
        return parity.CandidateParity(
            candidate.label, False, compared.rows, 0.0, 0.0, None, compared.rows, failure=error.message
        )


def _parity_report(
    tried: Sequence[parity.CandidateParity],
    chosen: str | None,
    tolerance: Tolerance,
    compared: Table,
    sample: Table,
) -> parity.ParityReport:
    return parity.ParityReport(
        chosen is not None, chosen, tolerance, compared.rows, sample.rows, tuple(tried)
    )


def _profile(built: _Built, sample: Table, runtime: Runtime, work: Path) -> ReferenceProfile:
    rows = sample.take(parity.choose_rows(sample))
    table_to_tensors(rows.take(slice(0, 1)), built.signature)  # the error names the column
    entry = built.files[verify_onnx.ENTRY]
    directory = entry.parent if isinstance(entry, Path) else work
    model = runtime.load(_unstored(directory, built.signature, built.steps))
    try:
        answers = asking.predict(model, built.signature, rows)
    finally:
        model.close()
    outputs: dict[str, Array] = {}
    labels = []
    for spec in built.signature.outputs:
        answer = answers.get(spec.name, np.empty(0))
        flat = answer.reshape(len(answer), -1)
        if len(answer) != rows.rows or flat.shape[1] > 256:
            continue  # a summary per column of a large tensor would say nothing
        for i in range(flat.shape[1]):
            name = spec.name if flat.shape[1] == 1 else f"{spec.name}[{i}]"
            outputs[name] = flat[:, i]
            if spec.meaning is Meaning.LABEL:
                labels.append(name)
    return profile(rows.columns, outputs, labels)


def _golden(golden: Table | None, target: str | None, files: dict[str, bytes | Path]) -> Golden | None:
    if golden is None or target is None:
        return None
    files[GOLDEN_FILE] = datafiles.write_jsonl(golden)
    return Golden(GOLDEN_FILE, target, golden.rows)


def _listed(files: Mapping[str, bytes | Path]) -> tuple[BundleFile, ...]:
    listed = []
    for path in sorted(files):
        part = files[path]
        digest, size = (oci.sha256(part), len(part)) if isinstance(part, bytes) else blobs.hash_file(part)
        listed.append(BundleFile(path, digest, size))
    return tuple(listed)


def _unstored(
    directory: Path, signature: Signature, stepped: Steps | msgspec.UnsetType = msgspec.UNSET
) -> OpenedBundle:
    """The model as a runtime takes it, before it is in any store."""
    digest, size = blobs.hash_file(directory / verify_onnx.ENTRY)
    listed = (BundleFile(verify_onnx.ENTRY, digest, size),)
    manifest = Manifest("unstored", Task.OTHER, verify_onnx.ENTRY, signature, Source("onnx"), listed)
    manifest = msgspec.structs.replace(manifest, format=STEPS_FORMAT if stepped else "onnx", steps=stepped)
    return OpenedBundle(digest, manifest, str(directory), "unstored", size)
