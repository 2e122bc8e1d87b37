"""How another process of this interpreter is started."""

from __future__ import annotations

import sys


def interpreter_options() -> list[str]:
    """The options of this interpreter that its children need, to be like it."""
    options = [f"-W{option}" for option in sys.warnoptions]
    if sys.flags.dev_mode:
        options.append("-Xdev")
    if sys.flags.isolated:
        options.append("-I")
    return options
