"""``python -m stem_core`` is ``stem``."""

from __future__ import annotations

from stem_core.cli.main import main

if __name__ == "__main__":
    main()
