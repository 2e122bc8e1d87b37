"""The entry point of the built-in plugin: hook implementations and nothing else."""

from __future__ import annotations

from stem_core.builtin.memory_backend import open_backend
from stem_core.builtin.memory_broker import open_broker
from stem_core.builtin.memory_state import open_state
from stem_core.builtin.strategies.event_loop import EventLoopStrategy
from stem_core.builtin.strategies.processes.pool import ProcessStrategy
from stem_core.builtin.strategies.threads import ThreadStrategy
from stem_core.contracts import BackendProvider, BrokerCapabilities, BrokerProvider, StateProvider, StrategyProvider
from stem_core.hooks import hookimpl

_MEMORY = ("memory",)


@hookimpl
def stem_register_brokers() -> list[BrokerProvider]:
    """``memory://name``."""
    capabilities = BrokerCapabilities(durable=False, shared=False)
    return [BrokerProvider(schemes=_MEMORY, open=open_broker, capabilities=capabilities)]


@hookimpl
def stem_register_result_backends() -> list[BackendProvider]:
    """``memory://name``."""
    return [BackendProvider(schemes=_MEMORY, open=open_backend)]


@hookimpl
def stem_register_state_stores() -> list[StateProvider]:
    """``memory://name``."""
    return [StateProvider(schemes=_MEMORY, open=open_state)]


@hookimpl
def stem_register_concurrency_strategies() -> list[StrategyProvider]:
    """``event_loop``, ``threads`` and ``processes``."""
    return [
        StrategyProvider(name="event_loop", open=EventLoopStrategy, runs_coroutines=True, runs_functions=True),
        StrategyProvider(name="threads", open=ThreadStrategy, runs_coroutines=False, runs_functions=True),
        StrategyProvider(
            name="processes",
            open=ProcessStrategy,
            runs_coroutines=True,
            runs_functions=True,
            preemptible=True,
            isolated=True,
        ),
    ]
