"""Stem on SQLite: a durable broker, result backend and state store for one machine, in one file.

The entry point ``sqlite`` of the group ``stem.plugins`` is :mod:`stem_sqlite.plugin`; nothing here needs importing
by hand.
"""
