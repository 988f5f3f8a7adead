"""Numbers agree with their nouns."""

import pytest

from omnisat_jax.words import number_of


@pytest.mark.parametrize(
    "count, noun, text",
    [
        (0, "block", "0 blocks"), (1, "block", "1 block"), (2, "block", "2 blocks"), (1200, "tile", "1,200 tiles"), (1, "class", "1 class"), (3, "class", "3 classes"),
        (1, "series", "1 series"), (2, "series", "2 series"), (2, "patch", "2 patches"), (2, "copy", "2 copies"), (2, "day", "2 days"), (1, "more row", "1 more row"),
    ],
)  # fmt: skip
def test_number_of(count, noun, text):
    assert number_of(count, noun) == text
