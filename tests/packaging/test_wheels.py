"""What users install: the built wheels, in environments that hold what they declare and nothing else."""

import json
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASKS = """
from stem_core import Stem
app = Stem('shop')

@app.task
async def double(n: int) -> int:
    return 2 * n
"""


def names_in(path):
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return set(wheel.namelist())
    with tarfile.open(path) as sdist:
        return {name.partition("/")[2] for name in sdist.getnames()}


@pytest.mark.parametrize("name", ["core", "redis", "sqlite"])
def test_a_wheel_holds_its_package_and_nothing_else(built, name):
    names = names_in(built / f"stem_{name}-0.1.0-py3-none-any.whl")
    assert {name.partition("/")[0] for name in names} == {f"stem_{name}", f"stem_{name}-0.1.0.dist-info"}
    assert f"stem_{name}/py.typed" in names
    assert not {name for name in names if name.endswith((".pyc", ".toml", ".md")) or "/tests/" in name}


def test_the_wheel_of_redis_holds_its_scripts(built):
    scripts = {path.name for path in (ROOT / "plugins/stem_redis/src/stem_redis/lua").glob("*.lua")}
    assert scripts
    names = names_in(built / "stem_redis-0.1.0-py3-none-any.whl")
    assert {name.rpartition("/")[2] for name in names if name.startswith("stem_redis/lua/")} == scripts


def test_the_sdist_of_core_holds_no_plugin_and_no_test(built):
    names = names_in(built / "stem_core-0.1.0.tar.gz")
    assert {"stem_core/__init__.py", "pyproject.toml", "LICENSE", "README.md"} <= names
    assert not {name for name in names if name.startswith(("plugins", "tests", "examples", "docs"))}


def test_the_command_and_the_entry_points(built):
    with zipfile.ZipFile(built / "stem_core-0.1.0-py3-none-any.whl") as wheel:
        entry_points = wheel.read("stem_core-0.1.0.dist-info/entry_points.txt").decode()
        metadata = wheel.read("stem_core-0.1.0.dist-info/METADATA").decode()
    assert "stem=stem_core.cli.main:main" in entry_points.replace(" ", "")
    assert "builtin=stem_core.builtin.plugin" in entry_points.replace(" ", "")
    declared = {line.split()[1].partition(">")[0] for line in metadata.splitlines()
                if line.startswith("Requires-Dist:") and "extra" not in line}  # fmt: skip
    assert declared == {"attrs", "msgspec", "pluggy", "typer"}


SUITE = """
from stem_core.testing.contracts import BrokerContract


class TestMemory(BrokerContract):
    url = "memory://mine"
"""


@pytest.fixture(scope="module")
def core(install):
    return install("core")


@pytest.fixture(scope="module")
def core_and_sqlite(install):
    return install("core", "sqlite")


@pytest.fixture(scope="module")
def everything(install):
    # hiredis is asked for as an extra of redis.
    return install("core", "redis", "sqlite", others=["hiredis"])


def plugins(environment):
    rows = json.loads(environment.run("-m", "stem_core", "plugins", "--json").stdout)
    return {row["name"]: (row["distribution"], row["version"], row["state"]) for row in rows}


def test_core_alone(core):
    where = core.run("-c", "import stem_core; print(stem_core.__file__)").stdout
    assert where.startswith(str(core.site))
    assert plugins(core) == {"builtin": ("stem-core", "0.1.0", "loaded")}
    core.run("-c", "import stem_sqlite", code=1)


def test_core_alone_names_what_is_missing(core):
    assert core.run("-m", "stem_core", "enqueue", "t", code=2).stderr == (
        "stem: error: no broker is configured, and no loaded plugin has a default\n"
        "  hint: set STEM_BROKER_URL, give --broker, write broker_url into stem.toml, or install the embedded one: "
        "pip install ./plugins/stem_sqlite from a checkout\n"
    )
    assert core.run("-m", "stem_core", "enqueue", "t", "--broker", "sqlite:///x.db", code=2).stderr == (
        "stem: error: no broker for sqlite://: the plugin 'sqlite' is not installed\n"
        "  hint: pip install ./plugins/stem_sqlite from a checkout\n"
    )


def test_core_alone_gives_the_tour(core):
    assert "demo.greet\t" in core.run("-m", "stem_core", "demo", "-n", "40").stdout


def test_sqlite_adds_just_itself(core_and_sqlite):
    assert plugins(core_and_sqlite) == {
        "builtin": ("stem-core", "0.1.0", "loaded"),
        "sqlite": ("stem-sqlite", "0.1.0", "loaded"),
    }


def test_core_and_sqlite_run_a_job(core_and_sqlite):
    (core_and_sqlite.folder / "tasks.py").write_text(TASKS)
    job = core_and_sqlite.run("-m", "stem_core", "enqueue", "-A", "tasks:app", "tasks.double", "[21]").stdout.strip()
    core_and_sqlite.run("-m", "stem_core", "worker", "tasks:app", "--burst")
    row = core_and_sqlite.run("-m", "stem_core", "result", job).stdout.rstrip("\n").split("\t")
    assert row == [job, "tasks.double", "succeeded", "1", "42"]
    assert (core_and_sqlite.folder / ".stem/stem.db").exists()


def test_everything_together_lists_all_and_runs_a_job(everything):
    assert plugins(everything) == {
        "builtin": ("stem-core", "0.1.0", "loaded"),
        "redis": ("stem-redis", "0.1.0", "loaded"),
        "sqlite": ("stem-sqlite", "0.1.0", "loaded"),
    }
    (everything.folder / "tasks.py").write_text(TASKS)
    enqueued = everything.run("-m", "stem_core", "enqueue", "-A", "tasks:app", "tasks.double", "[21]")
    everything.run("-m", "stem_core", "worker", "tasks:app", "--burst")
    row = everything.run("-m", "stem_core", "result", enqueued.stdout.strip()).stdout.rstrip("\n").split("\t")
    assert row[1:] == ["tasks.double", "succeeded", "1", "42"]


@pytest.mark.parametrize("names", [("core",), ("core", "sqlite"), ("core", "redis", "sqlite")], ids="+".join)
def test_the_shipped_suite_runs_from_the_wheel(install, names):
    """Outside of the tree, with pytest and nothing else of ours: what the author of a plugin has."""
    environment = install(*names, others=["hiredis", "pytest"])
    (environment.folder / "test_mine.py").write_text(SUITE)
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py")
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed >= 200
    assert "failed" not in done.stdout
