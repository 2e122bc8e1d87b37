"""Distributions made up for one test: a module and its metadata in a folder are all that an installed plugin is."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType

#: What the plugin modules below start with.
PRELUDE = """\
from contextlib import asynccontextmanager
import attrs
from stem_core.contracts import *
from stem_core.hooks import hookimpl
from stem_core.settings import SettingsSection, parsers, setting
"""

CAPABILITIES = "BrokerCapabilities(durable=True, shared=True)"


class Site:
    """A folder on ``sys.path`` with distributions in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._hidden: dict[str, ModuleType] = {}

    def add(
        self,
        plugin: str,
        source: str,
        *,
        distribution: str | None = None,
        version: str = "1.0",
        target: str | None = None,
        prelude: str = PRELUDE,
    ) -> str:
        """Install ``stem-<plugin>`` with the one module ``stem_<plugin>``; returns the module's name."""
        distribution = distribution or f"stem-{plugin}"
        module = distribution.replace("-", "_")
        self.module(module, source, prelude=prelude)
        self.metadata(distribution, version, f"[stem.plugins]\n{plugin} = {target or module}\n")
        return module

    def module(self, name: str, source: str, *, prelude: str = PRELUDE) -> None:
        """A module that belongs to no distribution; ``name`` may have a package in front."""
        self._hide(name.partition(".")[0])
        path = self.root.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(prelude + dedent(source))

    def metadata(self, distribution: str, version: str, entry_points: str) -> None:
        """The ``dist-info`` of a distribution."""
        folder = self.root / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(entry_points)

    def _hide(self, package: str) -> None:
        """A real one of this name may have been imported by another test, and would be taken for the one made up."""
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == package and not self._is_of_here(module):
                self._hidden[name] = sys.modules.pop(name)

    def forget(self) -> None:
        """Unload the modules that came from here, so that the next test imports its own."""
        for name, module in list(sys.modules.items()):
            if self._is_of_here(module):
                del sys.modules[name]
        sys.modules.update(self._hidden)
        self._hidden.clear()

    def _is_of_here(self, module: ModuleType) -> bool:
        return (getattr(module, "__file__", None) or "").startswith(str(self.root))


def broker(*schemes: str) -> str:
    """Source of a hook that registers a broker which yields its context."""
    return f"""
@asynccontextmanager
async def open_broker(context):
    yield context

@hookimpl
def stem_register_brokers():
    return [BrokerProvider(schemes={schemes!r}, open=open_broker, capabilities={CAPABILITIES})]
"""
