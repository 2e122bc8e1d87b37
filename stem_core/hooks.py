"""What the module of a plugin imports: the marker for its hook implementations."""

from __future__ import annotations

import pluggy

#: Marks a function as the implementation of one hook of :mod:`stem_core.plugins.hookspecs`.
hookimpl = pluggy.HookimplMarker("stem")
