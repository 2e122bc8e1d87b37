"""What Stem loads: the declarations of this plugin. Imports no driver; the openers do."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from stem_core.contracts import (
    BackendProvider,
    Broker,
    BrokerCapabilities,
    BrokerProvider,
    ResultBackend,
    StateProvider,
    StateStore,
    StoreContext,
)
from stem_core.hooks import hookimpl
from stem_core.settings import SettingsSection
from stem_redis.settings import SECTION

requires_api = "1.0"

_SCHEMES = ("redis", "rediss", "redis+unix")


def _open_broker(context: StoreContext) -> AbstractAsyncContextManager[Broker]:
    from stem_redis import opening

    return opening.open_broker(context)


def _open_backend(context: StoreContext) -> AbstractAsyncContextManager[ResultBackend]:
    from stem_redis import opening

    return opening.open_backend(context)


def _open_state(context: StoreContext) -> AbstractAsyncContextManager[StateStore]:
    from stem_redis import opening

    return opening.open_state(context)


@hookimpl
def stem_register_settings() -> list[SettingsSection]:
    """The section ``[redis]``."""
    return [SECTION]


@hookimpl
def stem_register_brokers() -> list[BrokerProvider]:
    """The broker behind ``redis://``, ``rediss://`` and ``redis+unix://``."""
    capabilities = BrokerCapabilities(durable=True, shared=True)
    return [BrokerProvider(schemes=_SCHEMES, open=_open_broker, capabilities=capabilities)]


@hookimpl
def stem_register_result_backends() -> list[BackendProvider]:
    """The result backend behind the same schemes."""
    return [BackendProvider(schemes=_SCHEMES, open=_open_backend)]


@hookimpl
def stem_register_state_stores() -> list[StateProvider]:
    """The state store behind the same schemes."""
    return [StateProvider(schemes=_SCHEMES, open=_open_state)]
