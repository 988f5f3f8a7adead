"""Faults of data, each made for real: `pastis`, `treesat`, `flair`, `tiles` and `records` declare them, `breaking` makes them."""

from tests.faults.breaking import change_array, flip_bit, pickled, truncate
from tests.faults.pastis import LABEL, S1A, S2, SPOT, TILE, change_metadata

__all__ = ["LABEL", "S1A", "S2", "SPOT", "TILE", "change_array", "change_metadata", "flip_bit", "pickled", "truncate"]
