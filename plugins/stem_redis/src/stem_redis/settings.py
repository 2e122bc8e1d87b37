"""The settings section ``[redis]``."""

from __future__ import annotations

from typing import Literal

import attrs

from stem_core.settings import SettingsSection, parsers, setting


@attrs.frozen(kw_only=True)
class RedisSettings:
    """Section ``[redis]``; ``STEM_REDIS_<KEY>`` in the environment.

    The four settings of TLS are read from ``STEM_TLS_<KEY>`` too, where they are the same for every store.
    """

    call_timeout: float = setting(
        5.0,
        parse=parsers.duration(0.1),
        help="How long the server may take to answer before the connection is given up as broken.",
    )
    connect_timeout: float = setting(
        1.0, parse=parsers.duration(0.05), help="How long connecting may take, authentication included."
    )
    protocol: Literal["2", "3"] = setting(
        "3",
        parse=parsers.choice("2", "3"),
        help="The version of the protocol (RESP); 2 for a proxy that knows no other.",
    )
    allow_eviction: bool = setting(
        False,
        parse=parsers.boolean(),
        help="Use a server that may evict keys when its memory is full, and with them tasks.",
    )
    tls_ca_cert: str | None = setting(
        None,
        parse=parsers.text("the path of a PEM file"),
        env=("STEM_TLS_CA_CERT",),
        unset="the system's",
        help="Certificates that rediss:// trusts.",
    )
    tls_client_cert: str | None = setting(
        None,
        parse=parsers.text("the path of a PEM file"),
        env=("STEM_TLS_CLIENT_CERT",),
        help="Certificate that this side shows.",
    )
    tls_client_key: str | None = setting(
        None,
        parse=parsers.text("the path of a PEM file"),
        env=("STEM_TLS_CLIENT_KEY",),
        unset="in tls_client_cert",
        help="Key of that certificate.",
    )
    tls_allow_insecure: bool = setting(
        False,
        parse=parsers.boolean(),
        env=("STEM_TLS_ALLOW_INSECURE",),
        help="Accept any certificate, so that whoever stands between can read and change everything.",
    )


SECTION = SettingsSection(name="redis", schema=RedisSettings)
