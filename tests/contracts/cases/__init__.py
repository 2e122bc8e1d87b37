"""What every broker, backend, state store and strategy has to show, as pytest mixins.

See :mod:`contracts.cases.base` for what a test class hands in.
"""

from __future__ import annotations

import pkgutil

import pytest

# The cases are no test modules, so pytest would leave their assertions bare.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
