"""Plugins as a whole: light at the door, well declared, and at home in one namespace."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from stem_core.contracts import BrokerCapabilities, BrokerProvider, StoreContext, StrategyProvider
from stem_core.errors import StoreError
from stem_core.model import ACK, StoreUrl, check_name, mask
from stem_core.plugins.loading import HOOKS
from stem_core.plugins.plugin import Plugin
from stem_core.plugins.runtime import Runtime, assemble
from stem_core.testing.contracts.base import (
    StoreContract,
    claim,
    claim_one,
    ids,
    message,
    open_in,
    settle,
    status,
)

#: What the core imports itself, so that a plugin may, too, as it is loaded.
_LIGHT = frozenset({"_attrs", "attr", "attrs", "msgspec", "pluggy", "stem_core", "typing_extensions"})
#: Modules of the standard library that are drivers.
_DRIVERS = frozenset({"dbm", "sqlite3"})
_IMPORTED = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import stem_core.contracts, stem_core.hooks, stem_core.settings, stem_core.signals
before = set(sys.modules)
__import__(sys.argv[2])
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


class PluginContract(StoreContract):
    """``class TestPlugin(PluginContract): plugin = "mine"; url = "mine://localhost"``.

    Without :attr:`~StoreContract.url`, what needs a store is skipped; a plugin of strategies or signals has none.
    """

    #: The name of the entry point, or the module of a plugin that is not installed.
    plugin: ClassVar[str] = ""
    #: Top-level modules that the plugin may import as it is loaded, beside its own and those of the core.
    light: ClassVar[Sequence[str]] = ()
    #: An address of the plugin where nothing answers: ``mine://user:secret@localhost:1``. Empty: not checked.
    unreachable_url: ClassVar[str] = ""

    @pytest.fixture
    def stem_runtime(self) -> Runtime:
        """The built-ins and this plugin, and nothing else."""
        if not self.plugin:
            raise pytest.UsageError(f"{type(self).__name__} has to set plugin")
        return assemble(self.settings, f"{type(self).__name__}.settings", environ={}, selection=[self.plugin])

    @pytest.fixture
    def loaded(self, stem_runtime: Runtime) -> Plugin:
        """What is known of the plugin."""
        return next(plugin for plugin in stem_runtime.plugins if plugin.name == self.plugin)

    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        """Where the store of this test is."""
        if not self.url:
            pytest.skip("the plugin has no store to open: url")
        return self.url.replace("{tmp_path}", str(tmp_path))

    @pytest.fixture
    def open_in_namespace(
        self, stem_runtime: Runtime, store_url: str, namespace: str, tmp_path: Path
    ) -> Callable[..., Any]:
        """Opens the store of this test, in a namespace that begins with this test's."""
        url = StoreUrl.parse(store_url)

        def opener(suffix: str = "") -> Any:
            context = StoreContext(url=url, namespace=namespace + suffix, directory=str(tmp_path))
            return open_in(stem_runtime, context)

        return opener

    def test_it_is_loaded(self, loaded: Plugin) -> None:
        assert (loaded.state, loaded.why) == ("loaded", "")

    def test_it_is_an_entry_point_of_its_distribution(self, loaded: Plugin) -> None:
        if loaded.distribution is None:
            pytest.skip(f"{self.plugin} is a module and no installed plugin: entry point")
        points = [point for point in metadata.entry_points(group="stem.plugins") if point.name == self.plugin]
        assert [point.value for point in points] == [loaded.target]
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", self.plugin)

    def test_loading_it_imports_no_driver(self, loaded: Plugin) -> None:
        module = loaded.target.partition(":")[0]
        done = subprocess.run(  # the modules of this process are those of all tests
            [sys.executable, "-c", _IMPORTED, json.dumps(sys.path), module], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        own = {module.partition(".")[0], *self.light}
        imported = set(json.loads(done.stdout))
        heavy = {name for name in imported - own - _LIGHT if name not in sys.stdlib_module_names or name in _DRIVERS}
        assert not heavy, (
            f"importing {module} imports {', '.join(sorted(heavy))}: import a driver in the opener, or name what is"
            " light in the attribute 'light'"
        )

    def test_it_implements_hooks_and_only_hooks(self, loaded: Plugin) -> None:
        assert loaded.hooks, f"{loaded.target} has no function marked with @hookimpl"
        assert set(loaded.hooks) <= set(HOOKS)

    def test_it_states_the_interface_that_it_needs(self, loaded: Plugin) -> None:
        required = getattr(loaded.implementation, "requires_api", None)
        if required is None:
            pytest.skip("the plugin states no version of the interface: requires_api")
        assert isinstance(required, str)

    def test_declaring_twice_declares_the_same(self, loaded: Plugin) -> None:
        for hook in loaded.hooks:
            if hook.startswith("stem_register_") and not HOOKS[hook]:
                declare = getattr(loaded.implementation, hook)
                assert _keys(declare()) == _keys(declare())

    def test_its_providers_are_sane(self, stem_runtime: Runtime, loaded: Plugin) -> None:
        for registry in (stem_runtime.brokers, stem_runtime.backends, stem_runtime.states, stem_runtime.strategies):
            for key in registry.keys:
                found = registry.claim(key)
                if found.plugin is not loaded:
                    continue
                provider: Any = found.provider
                assert callable(provider.open)
                assert not inspect.iscoroutinefunction(provider.open), f"open of {key} gives no context manager"
                if isinstance(provider, StrategyProvider):
                    check_name("strategy", provider.name)
                    assert provider.runs_coroutines or provider.runs_functions
                if isinstance(provider, BrokerProvider):
                    assert isinstance(provider.capabilities, BrokerCapabilities)

    def test_its_settings_say_what_they_do(self, loaded: Plugin) -> None:
        for section in loaded.sections:
            assert re.fullmatch(r"[a-z][a-z0-9_]*", section.name)
            for key in section.keys:
                assert key.help, f"the setting {section.name}.{key.name} has no help"

    def test_its_signal_handlers_carry_its_name(self, stem_runtime: Runtime, loaded: Plugin) -> None:
        if "stem_connect_signals" not in loaded.hooks:
            pytest.skip("the plugin lacks the ability stem_connect_signals")
        owners = {listener.owner for signal in stem_runtime.signals for listener in signal.listeners}
        assert f"plugin {loaded}" in owners

    def test_an_opener_gives_what_can_be_entered_and_does_nothing_before(
        self, stem_runtime: Runtime, loaded: Plugin
    ) -> None:
        for registry in (stem_runtime.brokers, stem_runtime.backends, stem_runtime.states):
            for key in registry.keys:
                found = registry.claim(key)
                if found.plugin is loaded:
                    # Nothing lives at such an address; who looks already now fails here.
                    url = StoreUrl.parse(self.unreachable_url or f"{key}://localhost:1")
                    provider: Any = found.provider
                    opening = provider.open(StoreContext(url=url, namespace="case"))
                    assert isinstance(opening, AbstractAsyncContextManager)

    async def test_opened_twice_it_is_one_store(self, open_in_namespace: Callable[..., Any]) -> None:
        async with open_in_namespace() as first, open_in_namespace() as second:
            await first.broker.publish([message("a")])
            delivery = await claim_one(second.broker)
            assert await settle(first.broker, delivery, ACK) == "done"

    async def test_opened_again_it_is_still_there(self, open_in_namespace: Callable[..., Any]) -> None:
        async with open_in_namespace() as first, open_in_namespace() as held:
            await first.broker.publish([message("a")])
            async with open_in_namespace() as again:
                assert await again.broker.queues() == ["default"]
            assert ids(await claim(held.broker)) == ["a"]

    async def test_a_namespace_does_not_see_the_messages_of_another(
        self, open_in_namespace: Callable[..., Any]
    ) -> None:
        async with open_in_namespace() as mine, open_in_namespace("-2") as theirs:
            await mine.broker.publish([message("a")])
            assert await theirs.broker.queues() == []
            assert await claim(theirs.broker) == []
            await theirs.broker.publish([message("a", payload=b"theirs")])
            assert (await claim_one(mine.broker)).message.payload == message("a").payload
            assert await theirs.broker.purge("default") == 1

    async def test_a_namespace_does_not_see_the_results_of_another(self, open_in_namespace: Callable[..., Any]) -> None:
        async with open_in_namespace() as mine, open_in_namespace("-2") as theirs:
            await mine.backend.record([status("a")])
            assert await theirs.backend.get(["a"]) == {}
            assert await theirs.backend.list() == []
            assert await theirs.backend.forget(["a"]) == 0

    async def test_a_namespace_does_not_see_the_records_of_another(self, open_in_namespace: Callable[..., Any]) -> None:
        async with open_in_namespace() as mine, open_in_namespace("-2") as theirs:
            await mine.state.put("pets", "cat", b"1")
            assert await theirs.state.get("pets", "cat") is None
            assert await theirs.state.list("pets") == []

    async def test_a_store_that_does_not_answer_is_a_store_error(
        self, stem_runtime: Runtime, namespace: str, tmp_path: Path
    ) -> None:
        if not self.unreachable_url:
            pytest.skip("no address where nothing answers: unreachable_url")
        context = StoreContext(url=StoreUrl.parse(self.unreachable_url), namespace=namespace, directory=str(tmp_path))
        with pytest.raises(StoreError) as caught:
            async with open_in(stem_runtime, context) as opened:
                await opened.broker.queues()
        if mask(self.unreachable_url) != self.unreachable_url:
            assert self.unreachable_url not in str(caught.value), "the message shows the password of the URL"


def _keys(declared: Any) -> list[Any]:
    return [
        getattr(one, "schemes", None) or getattr(one, "name", None) if attrs.has(type(one)) else type(one)
        for one in declared or ()
    ]
