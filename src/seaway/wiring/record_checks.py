"""Whether what an endpoint file wants recorded and compared can be, of this model and with what is installed here."""

from __future__ import annotations

import contextlib
import importlib.util

from seaway.control.deployments import Bundles
from seaway.core.answers import answer_spec
from seaway.core.bundles import Version
from seaway.core.deployments import Deployment
from seaway.core.errors import PermanentError, UserError
from seaway.core.rollouts import answering
from seaway.core.tensors import Signature
from seaway.monitor.capture import redaction


class RecordChecks:
    """Called for each deploy, before it is accepted. Blocking."""

    def __init__(self, bundles: Bundles) -> None:
        self._bundles = bundles

    def __call__(self, spec: Deployment, version: Version, live: Version | None = None) -> tuple[str, ...]:
        """What the user should know; `live` is what it would be compared with. Raises `UserError` (`invalid_spec`,
        `missing_extra`)."""
        if any(check.check in answering.OF_ANSWERS for check in spec.rollout.all_checks):
            self._check_rollout(spec, version)
            if live is not None:
                with contextlib.suppress(
                    PermanentError
                ):  # a damaged one can be compared with nothing, but replaced
                    self._check_rollout(spec, live)
        rules = spec.record.rules
        hidden = redaction.parse(rules.redact)
        if hidden.names or rules.slices:
            signature = self._bundles.open(version).manifest.signature
            unknown = redaction.unmatched(hidden, signature)
            if unknown:  # a misspelt name would protect nothing
                raise UserError(
                    "invalid_spec",
                    f"record.redact: {version.ref} has no column {', '.join(unknown)}",
                    "seaway show lists the columns",
                )
            columns = {name for one in signature.inputs for name in (one.columns or (one.name,))}
            strange = sorted(set(rules.slices) - columns)
            if strange:
                raise UserError(
                    "invalid_spec",
                    f"record.slices: {version.ref} has no input column {', '.join(strange)}",
                    "seaway show lists the columns",
                )
            shown = sorted(set(rules.slices) & _hidden_columns(signature, hidden))
            if shown:
                raise UserError(
                    "invalid_spec",
                    f"record.slices: {', '.join(shown)} is redacted, and a slice keeps its values",
                    "take it out of record.slices, or out of record.redact",
                )
        if not rules.capture_percent:
            return ()
        if importlib.util.find_spec("pyarrow") is None:
            raise UserError(
                "missing_extra",
                "record.capture needs pyarrow, which is not installed",
                "pip install 'seaway[records]'",
            )
        if rules.subject is None:
            return (
                "record.capture without record.subject: what is kept of a person cannot be erased by name",
            )
        return ()

    def _check_rollout(self, spec: Deployment, version: Version) -> None:
        manifest = self._bundles.open(version).manifest
        found = answering.impossible(spec.rollout, answer_spec(manifest.signature, manifest.classes))
        for check, why in found:
            raise UserError(
                "invalid_spec",
                f"rollout.checks: {check} has nothing to compare: in {version.ref} {why}",
                f"take {check} out of rollout.checks",
            )


def _hidden_columns(signature: Signature, hidden: redaction.Redaction) -> set[str]:
    """The input columns that `record.redact` names, themselves or by their tensor."""
    return {
        column
        for one in signature.inputs
        for column in (one.columns or (one.name,))
        if hidden.hides(column, f"input.{column}", one.name, f"input.{one.name}")
    }
