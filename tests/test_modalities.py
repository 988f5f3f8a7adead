import itertools

import pytest

from omnisat_jax.config import registry
from omnisat_jax.modalities import LOCATION, MODALITY_NAME, RESERVED, ModalitySpec, richest_series, subsets


def spec(name, kind="series", channels=3):
    return ModalitySpec(name, kind, channels, 10.0, 4, registry.encoders_of(kind)[0], 0, 0)


def test_the_ground_side_of_a_token_is_in_metres():
    assert spec("s2").ground == 40.0


@pytest.mark.parametrize("name", ["s2", "S1A", "spot_6", "x" * 64])
def test_names(name):
    assert MODALITY_NAME.allows(name)


@pytest.mark.parametrize("name", ["", "2s", "_s2", "s-2", "x" * 65, "s2\n", *sorted(RESERVED), "Labels"])
def test_names_that_are_refused(name):
    assert not MODALITY_NAME.allows(name)


def test_location_is_a_name():
    assert MODALITY_NAME.allows(LOCATION)


def test_the_richest_series_has_the_most_bands_and_is_the_first_of_equals():
    image = spec("spot", "image", 99)
    radar, other, optical = spec("s1a"), spec("s1d"), spec("s2", channels=10)
    assert richest_series([image, radar, optical, other]) is optical
    assert richest_series([other, image, radar]) is other


def test_subsets_are_all_there_and_the_full_one_comes_first():
    names = ("a", "b", "c")
    found = subsets(names)
    assert set(found) == {c for size in (1, 2, 3) for c in itertools.combinations(names, size)} and len(found) == 7
    assert found[0] == names and found[-3:] == [("a",), ("b",), ("c",)]
