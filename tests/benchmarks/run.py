"""``make bench``: measure, print a Markdown table, write ``bench.json``. See docs/explanation/performance.md."""

from __future__ import annotations

import sys
from pathlib import Path

# As a package below tests/: its modules have common names, which must not hide those of others.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
