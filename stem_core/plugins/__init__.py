"""Plugins: found by entry point, chosen by name, loaded one by one, and asked once at start-up what they declare."""

from __future__ import annotations
