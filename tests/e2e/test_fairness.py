"""The example that the page about prefetch shows."""

import re
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "examples" / "fairness" / "fairness.py"


def test_without_a_prefetch_no_short_task_waits_for_the_long_one():
    ran = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True, timeout=60, check=True)
    late = {int(prefetch): int(count) for prefetch, count in re.findall(r"prefetch +(\d+): +(\d+) of", ran.stdout)}
    assert late[0] == 0
    assert late[10] > 0
    assert ran.stderr == ""
