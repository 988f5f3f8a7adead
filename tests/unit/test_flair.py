"""FLAIR: where a tile lies in its super-patch, what labels mean, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from data.datasets import open_dataset
from data.flair import reader
from data.flair.simulated import simulate
from data.raw import NO_DATA_INT16, DataError
from tests.conftest import real


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("flair") / "flair", tiles=16, tile_size=64, seed=0)


@pytest.fixture
def root(whole, tmp_path):
    target = tmp_path / "flair"
    shutil.copytree(whole, target)
    return target


def test_official_layout(whole):
    dataset = open_dataset("flair", whole)
    assert dataset.simulated and dataset.label_side == 64 and dataset.ignore == reader.VOID
    # Department 4 validates in the authors' baselines; what lies below a folder of the test archive tests.
    assert {part: len(tiles) for part, tiles in dataset.parts.items()} == {"train": 8, "validation": 4, "test": 4}
    example = dataset.read("000001")
    assert example["aerial"]["values"].shape == (1, 64, 64, 5) and example["s2"]["values"].shape == (20, 2, 2, 10)
    assert (np.diff(example["s2"]["dates"]) > 0).all()
    longitude, latitude = example["location"]["values"][0]
    assert 2.9 < longitude < 3.5 and 46 < latitude < 47


def test_nomenclatures(root):
    written = np.resize(np.arange(1, 20, dtype=np.uint8), (64, 64))  # every raw label
    with rasterio.open(next(root.rglob("MSK_000001.tif")), "r+") as target:
        target.write(written[None])
    found = {}
    for name in reader.NOMENCLATURES:
        dataset = open_dataset("flair", root, name)
        found[name] = dataset.read("000001")["labels"]
        assert len(dataset.colours) == len(dataset.classes)
    rare = written > 12
    np.testing.assert_array_equal(found["19"], written - 1)
    np.testing.assert_array_equal(found["12"], np.where(rare, reader.VOID, written - 1))
    np.testing.assert_array_equal(found["13"], np.where(rare, 12, written - 1))
    assert open_dataset("flair", root, "13").unscored == ("Other",) and open_dataset("flair", root).unscored == ()
    with pytest.raises(ValueError, match="one of 12, 13, 19"):
        open_dataset("flair", root, "15")


@given(st.integers(4, 40), st.floats(0.1, 2.0), st.floats(0, 1), st.integers(1, 16))
def test_resampling_reproduces_a_linear_function(length, size, place, cells):
    half = cells * size / 2
    centre = half + place * (length - 2 * half)
    if 2 * half > length - 1:
        return
    centre = np.clip(centre, half + 0.5, length - half - 0.5)
    weights = reader.resampling(centre, length, cells, size)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    expected = centre - half + size * (np.arange(cells) + 0.5)
    np.testing.assert_allclose(weights @ (np.arange(length) + 0.5), expected, atol=1e-3)


def test_a_window_outside_its_super_patch_is_refused(root):
    path = root / reader.CENTRES
    table = json.loads(path.read_text())
    table["IMG_000001.tif"] = [0, 20]
    path.write_text(json.dumps(table))
    with pytest.raises(DataError, match="000001.*inside the super-patch of 40x40"):
        open_dataset("flair", root).read("000001")


def test_the_window_moves_with_the_centre(root):
    series = next((root / "flair_sen_train").rglob("*D004*_data.npy"))
    values = np.load(series)
    values[:] = (100 * np.arange(40))[:, None]  # rows tell where they are
    np.save(series, values)
    np.save(series.with_name(series.name.replace("_data", "_masks")), np.zeros((20, 2, 40, 40), np.uint8))
    path = root / reader.CENTRES
    table = json.loads(path.read_text())
    table["IMG_000001.tif"] = [10, 20]
    path.write_text(json.dumps(table))
    found = open_dataset("flair", root).read("000001")["s2"]["values"][0, :, 0, 0]
    # Two cells of 0.64 px beside row 10.0, whose pixel centres are at half numbers.
    np.testing.assert_allclose(found, [100 * (10 - 0.32 - 0.5), 100 * (10 + 0.32 - 0.5)], atol=1)


def test_clouds_never_reach_their_neighbours(root):
    series = next((root / "flair_sen_train").rglob("*D004*_data.npy"))
    values = np.load(series)
    values[0] = 1000
    values[0, :, :, 20:] = 20_000
    np.save(series, values)
    masks = np.zeros((20, 2, 40, 40), np.uint8)
    masks[0, 1, :, 20:] = 90
    np.save(series.with_name(series.name.replace("_data", "_masks")), masks)
    for tile in open_dataset("flair", root).parts["validation"]:
        found = open_dataset("flair", root).read(tile)["s2"]["values"][0]
        assert np.isin(found, (1000, NO_DATA_INT16)).all()


def fault_mask(root):
    path = next(root.rglob("MSK_000001.tif"))
    with rasterio.open(path, "r+") as target:
        target.write(np.zeros((1, 64, 64), np.uint8))


FAULTS = {
    "label 0": (fault_mask, "MSK_000001.tif.*classes 1 to 19"),
    "no mask": (lambda r: next(r.rglob("MSK_000001.tif")).unlink(), "a mask MSK_000001.tif"),
    "broken image": (lambda r: next(r.rglob("IMG_000001.tif")).write_bytes(b"II*\0"), "IMG_000001.tif.*unreadable"),
    "broken series": (lambda r: next(r.rglob("*D004*data.npy")).write_bytes(b""), "0 bytes"),
    "no dates": (lambda r: next(r.rglob("*D004*products.txt")).unlink(), "product names with the dates"),
    "fewer dates": (lambda r: next(r.rglob("*D004*products.txt")).write_text("S2A_MSIL2A_20210105T105351_X"), "1 images"),
    "no centre": (lambda r: (r / reader.CENTRES).write_text("{}"), "where images lie"),
    "index without a domain": (lambda r: (r / "index.json").write_text('{"000001": {}}'), "000001.*an entry with a domain"),
    "no image": (lambda r: [p.unlink() for p in r.rglob("IMG_*.tif")], "IMG_<number>.tif"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named(root, name):
    fault, message = FAULTS[name]
    fault(root)
    with pytest.raises(DataError, match=message):
        open_dataset("flair", root).read("000001")


def test_a_zone_without_series_lacks_the_modality(root):
    for path in root.rglob("SEN2_sp_D004*"):
        path.unlink()
    assert open_dataset("flair", root).read("000001")["s2"]["values"].shape == (0, 2, 2, 10)


def test_real_images_with_an_index():
    dataset = open_dataset("flair", real("flair_mini"))
    assert {part: len(tiles) for part, tiles in dataset.parts.items()} == {"train": 5, "validation": 2, "test": 2}
    labels = np.concatenate([dataset.read(tile)["labels"].ravel() for part in dataset.parts.values() for tile in part])
    # Counts of the folder's README: buildings and water.
    assert (labels == 0).sum() == 141_952 and (labels == 4).sum() == 290_560
    longitude, latitude = dataset.read("002115")["location"]["values"][0]
    assert abs(longitude - 7.43265) < 1e-3 and abs(latitude - 44.10758) < 1e-3
