from __future__ import annotations

import pytest

from stem_core.model import mask


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:hunter2@h:6379/0", "redis://u:***@h:6379/0"),
        ("redis://:hunter2@h", "redis://:***@h"),
        ("redis://hunter2@h", "redis://***@h"),
        ("redis://u:p@hunter2@h", "redis://u:***@h"),
        ("redis://u:hun/ter2@h:1/0", "redis://u:***@h:1/0"),
        ("redis://u:hun#ter2@h", "redis://u:***@h"),
        ("redis://:hun?ter2@h", "redis://:***@h"),
        ("redis://u:p@ss/hunter2@h", "redis://u:***@h"),
        ("postgres://h/db?password=hunter2&sslmode=require", "postgres://h/db?password=***&sslmode=require"),
        ("redis://[hunter2", "***"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://h/a@b", "redis://h/a@b"),
        ("sqlite:///folder/a@b:c.db?mode=ro", "sqlite:///folder/a@b:c.db?mode=ro"),
        ("memory://", "memory://"),
        ("none", "none"),
    ],
)
def test_addresses_are_shown_without_their_secrets(url, shown):
    assert mask(url) == shown
