"""On the path of a Seaway server, this takes the recorder out of its workers: what recording costs is measured against it.

Python imports a `sitecustomize` by itself. Nothing of Seaway can be served like that otherwise.
"""

import importlib.abc
import importlib.util
import sys

_MODULE = "seaway.wiring.recorders"


class _Unrecorded(importlib.abc.MetaPathFinder):
    """Replaces the factory of recorders, once its module is imported."""

    def find_spec(self, name, path=None, target=None):
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            from seaway.testing.recorder import Unrecorded

            module.make = lambda *_: Unrecorded()

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Unrecorded())
