"""Exact entrywise algebra: the ring of a parametrization's entries, and arithmetic modulo p."""

from flowsim.symbolic.algebra.ring import PRIME, Element, EntryMap, Field, entry_map

__all__ = ["PRIME", "Element", "EntryMap", "Field", "entry_map"]
