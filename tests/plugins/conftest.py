from importlib import metadata

import pytest

from stem_core.plugins import discovery
from stem_core.plugins.runtime import assemble
from support.distributions import Site


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder whose distributions, and no others of this environment, are installed beside the core."""
    made = Site(tmp_path / "site")
    made.root.mkdir()
    made.metadata("stem-core", "0.1.0", "[stem.plugins]\nbuiltin = stem_core.builtin.plugin\n")
    monkeypatch.syspath_prepend(str(made.root))
    everything = metadata.distributions
    monkeypatch.setattr(discovery.metadata, "distributions", lambda: everything(path=[str(made.root)]))
    yield made
    made.forget()


@pytest.fixture
def start(site, tmp_path):
    """Assemble in an empty folder with nothing but the given environment."""

    def start(*selection, environ=None, code=None, **options):
        here = tmp_path / "project"
        here.mkdir(exist_ok=True)
        return assemble(
            code, "tasks.py:5", environ=environ or {}, selection=selection or None, directory=here, **options
        )

    return start


@pytest.fixture
def project(tmp_path):
    """The folder that `start` starts in."""
    here = tmp_path / "project"
    here.mkdir(exist_ok=True)
    return here
