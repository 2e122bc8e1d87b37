import os

import pytest


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("STEM_") and not name.startswith("STEM_TEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
