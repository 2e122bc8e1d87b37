"""What every broker, result backend, state store, strategy and plugin has to show, as pytest mixins.

::

    from stem_core.testing.contracts import BrokerContract


    class TestMine(BrokerContract):
        url = "mine://localhost"

Each case is a test; one that needs an ability which is missing is skipped by the name of that ability. No plugin for
asynchronous tests is needed, and one that is there does not matter. See :class:`~.base.StoreContract` for what can
be set and overridden.
"""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stem_core.testing.contracts.base import StoreContract
    from stem_core.testing.contracts.broadcasts import BroadcastsContract
    from stem_core.testing.contracts.broker import BrokerContract
    from stem_core.testing.contracts.dead_letters import DeadLettersContract
    from stem_core.testing.contracts.inspection import InspectionContract
    from stem_core.testing.contracts.machine import BrokerMachineContract
    from stem_core.testing.contracts.plugin import PluginContract
    from stem_core.testing.contracts.result_backend import ResultBackendContract
    from stem_core.testing.contracts.settles_with_results import SettlesWithResultsContract
    from stem_core.testing.contracts.state_store import StateStoreContract
    from stem_core.testing.contracts.strategy import StrategyContract

__all__ = [
    "BroadcastsContract",
    "BrokerContract",
    "BrokerMachineContract",
    "DeadLettersContract",
    "InspectionContract",
    "PluginContract",
    "ResultBackendContract",
    "SettlesWithResultsContract",
    "StateStoreContract",
    "StoreContract",
    "StrategyContract",
]

# The cases are no test modules, so pytest would leave their assertions bare. They are imported when first named,
# which is after this.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

_HOMES = {
    "BroadcastsContract": "broadcasts",
    "BrokerContract": "broker",
    "BrokerMachineContract": "machine",
    "DeadLettersContract": "dead_letters",
    "InspectionContract": "inspection",
    "PluginContract": "plugin",
    "ResultBackendContract": "result_backend",
    "SettlesWithResultsContract": "settles_with_results",
    "StateStoreContract": "state_store",
    "StoreContract": "base",
    "StrategyContract": "strategy",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
