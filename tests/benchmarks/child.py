"""The process of one sample: ``python -m benchmarks.child REQUEST`` prints what the scenario measured as JSON."""

from __future__ import annotations

import importlib
import json
import sys

from benchmarks.model import Request


def main() -> None:
    """Run one scenario of one driver."""
    request = Request.from_json(json.loads(sys.argv[1]))
    driver = importlib.import_module(f"benchmarks.drivers.{request.driver}")
    print(json.dumps(getattr(driver, request.scenario)(request)))


if __name__ == "__main__":
    main()
