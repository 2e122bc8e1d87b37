from __future__ import annotations

import logging

from stem_core.worker.logs import TextFormatter


def test_what_strangers_sent_does_not_steer_the_terminal():
    record = logging.LogRecord("shop", logging.INFO, "shop.py", 1, "order \x1b[2J\u202e of %s", ("a\x07",), None)
    assert TextFormatter().format(record).endswith("INFO    order \\x1b[2J\\u202e of a\\x07")


def test_a_traceback_keeps_its_lines_and_loses_its_power():
    try:
        raise ValueError("\x1b[31mred\nand more")
    except ValueError as error:
        record = logging.LogRecord("shop", logging.ERROR, "shop.py", 1, "failed", (), (type(error), error, None))
    assert TextFormatter().format(record).endswith("ERROR   failed\nValueError: \\x1b[31mred\nand more")
