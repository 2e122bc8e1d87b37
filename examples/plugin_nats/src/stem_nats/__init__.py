"""NATS JetStream as a broker and state store for Stem."""

from __future__ import annotations

__version__ = "0.1.0"
