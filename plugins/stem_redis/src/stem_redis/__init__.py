"""Stem on Redis and Valkey: a fast durable broker, result backend and state store for many machines.

The entry point ``redis`` of the group ``stem.plugins`` is :mod:`stem_redis.plugin`; nothing here needs importing
by hand.
"""
