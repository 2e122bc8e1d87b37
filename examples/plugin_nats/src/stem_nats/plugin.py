"""What Stem loads: the declarations of this plugin. Imports no driver; the openers do."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from stem_core.contracts import Broker, BrokerCapabilities, BrokerProvider, StateProvider, StateStore, StoreContext
from stem_core.hooks import hookimpl
from stem_core.settings import SettingsSection
from stem_nats.settings import SECTION

requires_api = "1.0"

_SCHEMES = ("nats", "nats+tls")


def _open_broker(context: StoreContext) -> AbstractAsyncContextManager[Broker]:
    from stem_nats import opening

    return opening.open_broker(context)


def _open_state(context: StoreContext) -> AbstractAsyncContextManager[StateStore]:
    from stem_nats import opening

    return opening.open_state(context)


@hookimpl
def stem_register_settings() -> list[SettingsSection]:
    """The section ``[nats]``."""
    return [SECTION]


@hookimpl
def stem_register_brokers() -> list[BrokerProvider]:
    """The broker behind ``nats://`` and ``nats+tls://``."""
    capabilities = BrokerCapabilities(durable=True, shared=True)
    return [BrokerProvider(schemes=_SCHEMES, open=_open_broker, capabilities=capabilities)]


@hookimpl
def stem_register_state_stores() -> list[StateProvider]:
    """The state store behind ``nats://`` and ``nats+tls://``."""
    return [StateProvider(schemes=_SCHEMES, open=_open_state)]
