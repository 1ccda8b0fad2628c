"""The parts of one home, built when first asked for: what a verb without a server, and the control process, work with."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from seaway import settings
from seaway.bundle import store
from seaway.core.bundles import ModelRef, Version
from seaway.core.ports import Runtime
from seaway.wiring import formats
from seaway.wiring.clock import SystemClock


class Home:
    """One home. Cheap to make: nothing is opened before it is used."""

    def __init__(self, configuration: settings.Configuration) -> None:
        self.configuration = configuration
        self.paths = settings.HomePaths(configuration.home)
        self.clock = SystemClock()

    @cached_property
    def bundles(self) -> store.BundleStore:
        return store.BundleStore(self.paths.models, self.paths.opened, self.clock)

    @cached_property
    def runtime(self) -> Runtime:
        return formats.RuntimeByFormat()

    def version(self, text: str) -> Version:
        """The version that `NAME:v3` or `NAME@sha256:…` names."""
        return self.bundles.resolve(ModelRef.parse(text))

    @property
    def directory(self) -> Path:
        """The home itself, made (mode 0700) if it is not there."""
        self.paths.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.paths.home
