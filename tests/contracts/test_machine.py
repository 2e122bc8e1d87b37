"""Histories that nobody thought of, for both stores; ``STEM_TEST_MACHINE_EXAMPLES=5000`` tries more, and others
(with `-o timeout=0`)."""

from __future__ import annotations

from typing import ClassVar

from stem_core.testing.contracts import BrokerMachineContract


class TestMemoryHistories(BrokerMachineContract):
    url = "memory://histories"
    plugins = ("builtin",)
    examples = 150


class TestSqliteHistories(BrokerMachineContract):
    url = "sqlite:///{tmp_path}/stem.db"
    plugins = ("sqlite",)
    settings: ClassVar = {"sqlite.synchronous": "normal"}
    examples = 150
