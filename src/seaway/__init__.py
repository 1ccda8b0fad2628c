"""Seaway: from a trained model to a served, versioned, reversible endpoint.

The Python twin of the command line: `seaway.package(model, name=…, sample=X, golden=(X, y))` makes a version,
`seaway.Client().predict(endpoint, rows)` calls one. Both are imported when first used, so `import seaway` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from seaway.client.predictions import Client
    from seaway.core.bundles import Tolerance
    from seaway.wiring.python_api import package

__all__ = ["Client", "Tolerance", "__version__", "package"]


def __getattr__(name: str) -> object:
    if name == "Client":
        from seaway.client.predictions import Client

        return Client
    if name == "package":
        from seaway.wiring.python_api import package

        return package
    if name == "Tolerance":
        from seaway.core.bundles import Tolerance

        return Tolerance
    raise AttributeError(f"module 'seaway' has no attribute {name!r}")
