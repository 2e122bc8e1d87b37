"""One of the workers of ``stem worker --replicas``, started by their supervisor and nobody else."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from stem_core.cli import output
from stem_core.errors import ConfigurationError, PluginError, StemError
from stem_core.worker.replicas_link import Link


def main() -> NoReturn:
    """The life of the process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    link = Link()
    try:
        code = _run(link)
    except StemError as error:
        if error.exit_code in {ConfigurationError.exit_code, PluginError.exit_code}:
            # The others would say the same.
            link.refused(str(error))
        else:
            output.message(f"stem: error: {error}")
        code = error.exit_code
    sys.exit(code)


def _run(link: Link) -> int:
    # What can fail is loaded inside.
    from stem_core.bootstrap import CommandLine, compose, run_worker

    setup = link.setup
    plugins = None if setup.plugins is None else tuple(setup.plugins)
    try:
        composed = compose(CommandLine(app=setup.app, settings=setup.settings, plugins=plugins), app_needed=True)
    except Exception as error:
        show_cause(error, setup.settings)
        raise
    return run_worker(composed.app, setup.settings, burst=setup.burst, announce=output.message, last=True, link=link)


def show_cause(error: Exception, settings: Mapping[str, Any]) -> None:
    """Where the log is at debug, show the whole traceback of why the app could not be loaded."""
    level = settings.get("worker.log_level", os.environ.get("STEM_WORKER_LOG_LEVEL"))
    if level == "debug" and error.__cause__ is not None:
        import traceback

        output.message("".join(traceback.format_exception(error.__cause__)).rstrip())


if __name__ == "__main__":
    main()
