"""One job for every worker: between processes, and the example that shows it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.fanout import check_fan_out

EXAMPLE = Path(__file__).parents[2] / "examples" / "fanout"


async def test_every_worker_that_listens_runs_a_copy(site):
    await check_fan_out(site)


def test_the_example_shows_what_its_readme_says(tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "fanout.py")],
        # A shell's own settings must not reach it.
        env={**os.environ, "STEM_BROKER_URL": "nowhere://", "STEM_ROUTING_CONFIG": "nowhere", "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    (shown,) = re.findall(r"```console\n\$ python .*\n([^`]*)```", (EXAMPLE / "README.md").read_text())
    assert (done.stderr, done.stdout, done.returncode) == ("", shown, 0)
    assert list(tmp_path.iterdir()) == []
