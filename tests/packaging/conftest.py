import compileall
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = {"core": ROOT, "redis": ROOT / "plugins/stem_redis", "sqlite": ROOT / "plugins/stem_sqlite"}


@attrs.frozen
class Environment:
    """A virtual environment with wheels installed, and a folder of its own to run in."""

    python: Path
    site: Path
    folder: Path

    def run(self, *arguments, code=0):
        # -I would hide the current directory from `python -m`, but what of ours is importable here is in wheels only.
        done = subprocess.run(
            [self.python, *arguments], cwd=self.folder, capture_output=True, text=True, check=False, env={"PATH": ""}
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


def closure(name):
    """The distributions that one declares, and those that they declare; without extras."""
    found, todo = {}, [name]
    while todo:
        current = distribution(todo.pop())
        if found.setdefault(current.name, current) is not current:
            continue
        for requirement in current.requires or ():
            wanted, _, marker = requirement.partition(";")
            if not marker:
                todo.append(re.match(r"[\w.-]+", wanted)[0])
    return list(found.values())


def link_dependencies(folder, names):
    """A folder with what the named distributions declare and nothing else: an import of anything undeclared fails."""
    for dependency in (each for name in names for each in closure(name)):
        if dependency.name.startswith("stem-"):
            continue
        for file in dependency.files:
            top = file.parts[0]
            source, link = Path(dependency.locate_file(top)), folder / top
            if top != ".." and not link.exists():
                link.symlink_to(source)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder with wheel and sdist of each distribution; built without isolation, so that no network is needed."""
    folder = tmp_path_factory.mktemp("dist")
    build = "import sys, flit_core.buildapi as b; b.build_wheel(sys.argv[1]); b.build_sdist(sys.argv[1])"
    for project in PROJECTS.values():
        done = subprocess.run(
            [sys.executable, "-c", build, folder], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def unpacked(built, tmp_path_factory):
    """Folders with what is in each wheel, by name; compiled once, which takes as long as all that is tried with it."""
    folders = {}
    for name in PROJECTS:
        folders[name] = tmp_path_factory.mktemp(f"unpacked-{name}")
        with zipfile.ZipFile(built / f"stem_{name}-0.1.0-py3-none-any.whl") as wheel:
            wheel.extractall(folders[name])
        compileall.compile_dir(folders[name], quiet=1)
    return folders


@pytest.fixture(scope="session")
def install(unpacked, tmp_path_factory):
    """Makes an environment with the wheels of the named distributions, as `pip install --no-deps` would, beside what
    they declare and what ``others`` are."""

    def install(*names, others=()):
        folder = tmp_path_factory.mktemp("-".join(names))
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        (site,) = folder.glob("venv/lib/python3*/site-packages")
        for name in names:
            # With the times of the files, by which Python knows that what is compiled fits.
            shutil.copytree(unpacked[name], site, dirs_exist_ok=True)
        dependencies = folder / "dependencies"
        dependencies.mkdir()
        link_dependencies(dependencies, [*(f"stem-{name}" for name in names), *others])
        (site / "dependencies.pth").write_text(f"{dependencies}\n")
        work = folder / "work"
        work.mkdir()
        return Environment(folder / "venv/bin/python", site, work)

    return install
