"""The default colors of classes."""

import re

from omnisat_jax.colours import class_colours


def test_every_class_has_a_colour_of_its_own():
    found = class_colours(60)
    assert len({*found}) == 60 and all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in found)
    assert found[:3] == ("#000000", "#aec7e8", "#ff7f0e") and found[20] == "#1f77b4" and class_colours(5) == found[:5]


def test_own_colours_stay():
    assert class_colours(2, ["#123456", "#abcdef"]) == ("#123456", "#abcdef")
