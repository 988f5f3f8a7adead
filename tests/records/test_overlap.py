"""Tiles of two folders that show the same ground, or are the same."""

import shutil

import numpy as np
import pytest
from rich.console import Console

from data.pastis.simulated import simulate
from data.preparation.options import PreparationOptions
from data.preparation.preparing import prepare_folder
from omnisat_jax.records.overlap import EARTH_RADIUS, same_ground, same_images
from omnisat_jax.records.reader import Records


def east_of(place, metres, north=0.0):
    longitude, latitude = place
    step = np.degrees(metres / EARTH_RADIUS) / np.cos(np.radians(latitude))
    return (longitude + step + 180) % 360 - 180, latitude + np.degrees(north / EARTH_RADIUS)


@pytest.mark.parametrize("place", [(3.0, 51.0), (0.0, 0.0), (179.9999, -17.0), (20.0, 69.0)])
def test_overlap_is_found_and_neighbours_are_not(place):
    here = {"a": place}
    inside = {"same": place, "corner": east_of(place, 80, 80), "edge": east_of(place, 0, -90)}
    outside = {"east": east_of(place, 100), "diagonal": east_of(place, 100, 100), "north": east_of(place, 5, 99), "far": (place[0], place[1] / 2 + 1)}
    assert sorted(same_ground(here, inside | outside, (100.0, 100.0))) == [("a", "corner"), ("a", "edge"), ("a", "same")]
    # A larger tile reaches further.
    assert ("a", "east") in same_ground(here, outside, (100.0, 300.0)) and ("a", "far") not in same_ground(here, outside, (100.0, 300.0))
    assert same_ground({}, inside, (1.0, 1.0)) == same_ground(here, {}, (1.0, 1.0)) == []


def test_equal_images_are_found_whatever_their_names(records, tmp_path):
    """The same simulation under other names of tiles and folds, without labels and without SPOT."""
    root = simulate(tmp_path / "raw", tiles=10, tile_size=16, seed=0)
    text = (root / "metadata.geojson").read_text().replace('"ID_PATCH": 10', '"ID_PATCH": 77').replace('"Fold": 1', '"Fold": 2')
    (root / "metadata.geojson").write_text(text)
    for folder in ("DATA_S1D", "DATA_SPOT", "ANNOTATIONS"):
        shutil.rmtree(root / folder, ignore_errors=True)
    for path in (*(root / "DATA_S2").iterdir(), *(root / "DATA_S1A").iterdir()):
        path.rename(path.with_name(path.name.replace("_10", "_77")))
    prepare_folder("pastis", root, tmp_path / "out", "", PreparationOptions(unlabelled="pretrain"), Console(quiet=True))
    other = Records(tmp_path / "out")
    pairs = {(tile, theirs) for _, tile, theirs in same_images(records, ("fold_5",), other, ("s2", "s1a"))}
    assert pairs and all(theirs == tile.replace("10", "77", 1) for tile, theirs in pairs)
    elsewhere = simulate(tmp_path / "more", tiles=5, tile_size=16, seed=1)
    prepare_folder("pastis", elsewhere, tmp_path / "more_out", "", PreparationOptions(), Console(quiet=True))
    assert not list(same_images(records, records.parts, Records(tmp_path / "more_out"), ("s2", "s1a", "spot")))


def test_images_without_a_known_value_are_not_the_same(tmp_path):
    """A date of radar that is NaN everywhere has the same bytes in every folder."""
    folders = []
    for seed in (0, 1):
        root = simulate(tmp_path / f"raw{seed}", tiles=5, tile_size=16, seed=seed)
        for path in (root / "DATA_S1A").iterdir():
            values = np.load(path)
            values[0] = np.nan
            np.save(path, values)
        prepare_folder("pastis", root, tmp_path / f"out{seed}", "", PreparationOptions(), Console(quiet=True))
        folders.append(Records(tmp_path / f"out{seed}"))
    assert not list(same_images(folders[0], folders[0].parts, folders[1], ("s1a",)))
    assert len(list(same_images(folders[0], ("fold_1",), folders[0], ("s1a",)))) == 1  # with itself, by another date


def test_places_are_those_of_the_rows(records):
    """Records of earlier versions do not keep them."""
    earlier = Records(records.root)
    for summary in earlier._summaries.values():
        del summary["places"], summary["unlabelled"]
    found = records.places(("fold_1", "fold_3"))
    assert found == earlier.places(("fold_1", "fold_3")) and set(found) == set(records.tiles(("fold_1", "fold_3")))
    assert earlier.labelled_tiles(records.parts) == records.tile_ids
