"""One Runtime for bundles of every format: what the gate, the plan and packaging load models with."""

from __future__ import annotations

from collections.abc import Sequence

from seaway.core.bundles import OpenedBundle
from seaway.core.ports import LoadedModel
from seaway.wiring import adapters


class RuntimeByFormat:
    """Loads each bundle by the Runtime of its own format. `formats` are those that come with Seaway."""

    formats: Sequence[str] = tuple(adapters.RUNTIMES)

    def load(self, bundle: OpenedBundle) -> LoadedModel:
        """As the port says; raises what `adapters.runtime` raises too."""
        return adapters.runtime(bundle.manifest.format).load(bundle)
