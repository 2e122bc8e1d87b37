"""The settings section ``[nats]``."""

from __future__ import annotations

import attrs

from stem_core.settings import SettingsSection, parsers, setting


@attrs.frozen(kw_only=True)
class NatsSettings:
    """Section ``[nats]``; ``STEM_NATS_<KEY>`` in the environment."""

    connect_timeout: float = setting(
        2.0,
        parse=parsers.duration(0.01),
        help="How long to try to reach a server before opening a store fails as unavailable.",
    )
    request_timeout: float = setting(
        5.0,
        parse=parsers.duration(0.01),
        help="How long to wait for an answer of the server before a call fails as unavailable.",
    )
    credentials: str | None = setting(
        None,
        parse=parsers.text("the path of a .creds file"),
        help="File with the JWT and the seed of a NATS user.",
        unset="none; user and password may stand in the URL",
    )
    ca_file: str | None = setting(
        None,
        parse=parsers.text("the path of a PEM file"),
        help="Certificates of those who may vouch for the servers of nats+tls://.",
        unset="those of the system",
    )


SECTION = SettingsSection(name="nats", schema=NatsSettings)
