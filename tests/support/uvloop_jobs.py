"""The app of the stop matrix in a program that runs on uvloop, as an application does it: in its own module."""

import uvloop

from support.stop_jobs import app

uvloop.install()

__all__ = ["app"]
