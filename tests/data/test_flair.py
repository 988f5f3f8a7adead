"""FLAIR: the position of a tile in its super-patch, the meaning of labels, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import rasterio
from hypothesis import given, strategies as st

from data.flair import layout, reader
from data.flair.simulated import simulate
from data.reading.datasets import open_dataset
from data.reading.raw import DataError
from omnisat_jax.missing import NO_DATA_INT16
from tests.conftest import real
from tests.faults.breaking import link_out


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
    # Department 4 is used for validation in the authors' baselines; everything below the test archive is used for tests.
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


def test_the_window_moves_with_the_centre(root):
    series = next((root / "flair_sen_train").rglob("*D004*_data.npy"))
    values = np.load(series)
    values[:] = (100 * np.arange(40))[:, None]  # each row has its own value
    np.save(series, values)
    np.save(series.with_name(series.name.replace("_data", "_masks")), np.zeros((20, 2, 40, 40), np.uint8))
    path = root / layout.CENTRES
    table = json.loads(path.read_text())
    table["IMG_000001.tif"] = [10, 20]
    path.write_text(json.dumps(table))
    found = open_dataset("flair", root).read("000001")["s2"]["values"][0, :, 0, 0]
    # Two cells of 0.64 px beside row 10.0; pixel centers are at half-integers.
    np.testing.assert_allclose(found, [100 * (10 - 0.32 - 0.5), 100 * (10 + 0.32 - 0.5)], atol=1)


def test_clouds_do_not_spread_to_their_neighbours(root):
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


def super_patch(root, suffix="data.npy"):
    """The super-patch of tile 000001."""
    return next((root / "flair_sen_train").rglob(f"*D004*_{suffix}"))


def change_series(root, function):
    np.save(super_patch(root), function(np.load(super_patch(root))))


def write_image(root, kind="IMG", values=None, **changes):
    path = next(root.rglob(f"{kind}_000001.tif"))
    with rasterio.open(path) as source:
        found, profile = source.read(), source.profile
    values = found if values is None else values
    profile |= {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    if "shift" in changes:
        profile["transform"] = rasterio.Affine.translation(changes.pop("shift"), 0) @ profile["transform"]
    with rasterio.open(path, "w", **(profile | changes)) as target:
        target.write(values)


def change_table(root, name, function):
    table = json.loads((root / name).read_text()) if (root / name).is_file() else {}
    function(table)
    (root / name).write_text(json.dumps(table))


def header_only(path, shape):
    with open(path, "wb") as target:
        np.lib.format.write_array_header_1_0(target, {"descr": "<u2", "fortran_order": False, "shape": shape})


def centre(value):
    return lambda r: change_table(r, layout.CENTRES, lambda t: t.update({"IMG_000001.tif": value}))


def index(entry):
    return lambda r: change_table(r, layout.INDEX, lambda t: t.update({"000001": entry}))


def copy_of(path, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


FAULTS = {
    "label 0": (lambda r: write_image(r, "MSK", np.zeros((1, 64, 64), np.uint8)), "MSK_000001.tif.*classes 1 to 19"),
    "no mask": (lambda r: next(r.rglob("MSK_000001.tif")).unlink(), "a mask MSK_000001.tif"),
    "a mask elsewhere": (lambda r: write_image(r, "MSK", shift=0.2), "labels where the image lies.*found .*up to 0.2"),
    "a mask in another zone": (lambda r: write_image(r, "MSK", crs="EPSG:32631"), "labels where the image lies.*another reference system"),
    "a mask of another size": (lambda r: write_image(r, "MSK", np.ones((1, 32, 32), np.uint8)), "64x64 px, found .* 32x32 px"),
    "broken image": (lambda r: next(r.rglob("IMG_000001.tif")).write_bytes(b"II*\0"), "IMG_000001.tif.*unreadable"),
    "an image of another size": (lambda r: write_image(r, values=np.ones((5, 96, 96), np.uint8)), "64x64 px, found .* 96x96 px"),
    "pixels of 1 m": (lambda r: write_image(r, transform=rasterio.Affine(1, 0, 7e5, 0, -1, 6.6e6)), "pixels of 0.2 m, found 1 m"),
    "a link out of the dataset": (lambda r: link_out(next(r.rglob("IMG_000001.tif"))), "inside the dataset, found a link"),
    "broken series": (lambda r: super_patch(r).write_bytes(b""), "0 bytes"),
    "nine bands": (lambda r: change_series(r, lambda a: a[:, :9]), r"\(N, 10, N, N\), found shape \(20, 9, 40, 40\)"),
    "floats": (lambda r: change_series(r, lambda a: a.astype(float)), "integers.*found float64"),
    "numbers beyond int16": (lambda r: change_series(r, lambda a: np.full_like(a, 40_000)), "-32,767 to 32,767, found 40,000"),
    "a huge declared size": (lambda r: header_only(super_patch(r), (20, 10, 9_999, 9_999)), "at most .* bytes"),
    "masks of another size": (lambda r: np.save(super_patch(r, "masks.npy"), np.zeros((20, 2, 8, 8))), r"\(20, 2, 40, 40\)"),
    "no dates": (lambda r: super_patch(r, "products.txt").unlink(), "product names with the dates"),
    "dates not in UTF-8": (lambda r: super_patch(r, "products.txt").write_bytes(b"\xff\xfe"), "text in UTF-8"),
    "dates of no day": (lambda r: super_patch(r, "products.txt").write_text("S2A_20210230T1\n" * 20), "day is out of range"),
    "fewer dates": (lambda r: super_patch(r, "products.txt").write_text("S2A_MSIL2A_20210105T105351_X"), "expected 1 image"),
    "no table of centers": (lambda r: (r / layout.CENTRES).write_text("{}"), "where images lie"),
    "no center": (lambda r: change_table(r, layout.CENTRES, lambda t: t.pop("IMG_000001.tif")), "row and column of its center"),
    "a center outside": (centre([0, 20]), "000001.*inside the super-patch of 40x40"),
    "a center that is not a number": (centre([20, None]), r"IMG_000001.tif\[1\]: a finite number"),
    "an infinite center": (centre([20, float("inf")]), "a finite number"),
    "a center of three numbers": (centre([20, 20, 20]), "a list of length 2"),
    "a table of centers that is a list": (lambda r: (r / layout.CENTRES).write_text("[1]"), "an object"),
    "index without a domain": (index({}), "000001.*a key 'domain'"),
    "index that is a list": (index([]), "000001.*an object"),
    "an unknown split": (index({"domain": "D004_2021", "split": "val"}), "one of train, validation, test, found 'val'"),
    "a domain that is a path": (index({"domain": "../D004_2021"}), "a domain of letters"),
    "no image": (lambda r: [p.unlink() for p in r.rglob("IMG_*.tif")], "IMG_<number>.tif"),
    "an image twice": (lambda r: copy_of(next(r.rglob("IMG_000001.tif")), r / "b/D004_2021/Z1_NF/IMG_000001.tif"), "each IMG number once"),
    "a super-patch twice": (lambda r: copy_of(super_patch(r), r / "b" / super_patch(r).name), "each super-patch once"),
    "a super-patch of no zone": (lambda r: copy_of(super_patch(r), r / "SEN2_sp_x_data.npy"), "a name SEN2_sp_D"),
    "a number that cannot be a name": (lambda r: copy_of(next(r.rglob("IMG_000001.tif")), r / "D004_2021/Z1_NF/IMG_a b.tif"), "the number of IMG"),
    "a link to nothing": (lambda r: (r / "flair_aerial_more").symlink_to("/nowhere/at/all"), "a link to a file or folder, found a broken link"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named(root, name):
    fault, message = FAULTS[name]
    fault(root)
    with pytest.raises(DataError, match=message) as error:
        open_dataset("flair", root).read("000001")
    assert (error.value.finding.kind == "georeference") == ("lies" in message or "0.2 m, found" in message)


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


def test_only_the_image_of_another_size_or_the_broken_one_is_named(root):
    write_image(root, values=np.ones((5, 96, 96), np.uint8))
    next(root.rglob("IMG_000002.tif")).write_bytes(b"")
    dataset, wrong = open_dataset("flair", root), []
    for tile in (tile for tiles in dataset.parts.values() for tile in tiles):
        dataset.read(tile, lambda name, error, tile=tile: wrong.append((tile, name)) or {})
    assert dataset.label_side == 64 and sorted(set(wrong)) == [(t, n) for t, n in sorted(set(wrong)) if t in ("000001", "000002")]
    assert {("000001", "aerial"), ("000002", "aerial")} <= set(wrong) and "location" in dataset.modalities


def test_later_baselines_are_harmonised(root):
    change_series(root, lambda a: a + 300)
    before = open_dataset("flair", root)
    assert list(before.inspect("000001")) == []
    values = before.read("000001")["s2"]["values"]
    products = super_patch(root, "products.txt")
    products.write_text("\n".join(line.replace("N0301", "N0510") if i % 2 else line for i, line in enumerate(products.read_text().split())))
    change_series(root, lambda a: a + 1000 * (np.arange(20) % 2).astype(np.uint16)[:, None, None, None])
    np.testing.assert_array_equal(open_dataset("flair", root).read("000001")["s2"]["values"], values)
    (finding,) = open_dataset("flair", root).inspect("000001")
    assert finding.kind == "doubt" and "N0510 for 10 of 20 dates" in finding.found


def test_values_without_the_offset_of_their_baseline_are_refused(root):
    products = super_patch(root, "products.txt")
    products.write_text(products.read_text().replace("N0301", "N0500"))
    with pytest.raises(DataError, match="as the product names imply"):
        open_dataset("flair", root).read("000001")


def test_a_super_patch_without_masks_is_reported(root):
    super_patch(root, "masks.npy").unlink()
    (finding,) = open_dataset("flair", root).inspect("000001")
    assert finding.kind == "doubt" and finding.path.endswith("_masks.npy") and "count as ground" in finding.found


def test_negative_reflectance_is_kept(root):
    np.save(super_patch(root, "masks.npy"), np.zeros((20, 2, 40, 40), np.uint8))
    change_series(root, lambda a: np.full(a.shape, -200, np.int16))
    assert (open_dataset("flair", root).read("000001")["s2"]["values"] == -200).all()


def test_wholly_unknown_images_and_series_are_absent_with_a_remark(root):
    write_image(root, values=np.zeros((5, 64, 64), np.uint8))
    change_series(root, np.zeros_like)
    example = open_dataset("flair", root).read("000001")
    assert len(example["aerial"]["values"]) == len(example["s2"]["values"]) == 0 and sorted(example["remarks"]) == ["aerial", "s2"]
    change_series(root, lambda a: a[:0])
    super_patch(root, "products.txt").write_text("")
    np.save(super_patch(root, "masks.npy"), np.zeros((0, 2, 40, 40), np.uint8))
    assert "without images" in open_dataset("flair", root).read("000001")["remarks"]["s2"]


def test_images_that_are_not_georeferenced_are_reported(root):
    write_image(root, crs=None)
    write_image(root, "MSK", crs=None)
    dataset = open_dataset("flair", root)
    assert [f.kind for f in dataset.inspect("000001")] == ["georeference"] * 2 and list(dataset.inspect("000002")) == []
    assert len(dataset.read("000001")["location"]["values"]) == 0 and len(dataset.read("000002")["location"]["values"]) == 1


def parts_of(root):
    return {part: sorted(tiles) for part, tiles in open_dataset("flair", root).parts.items()}


def test_linked_archives_and_domains_are_followed_and_circles_end(root, tmp_path):
    before = parts_of(root)
    for folder in ("flair_aerial_test", "flair_labels_train", "flair_aerial_train/D004_2021"):
        target = tmp_path / "disk" / folder.replace("/", "_")
        target.parent.mkdir(exist_ok=True)
        (root / folder).rename(target)
        (root / folder).symlink_to(target)
    (root / "flair_aerial_train" / "again").symlink_to(root)
    assert parts_of(root) == before and len(before["test"]) == 4
    dataset = open_dataset("flair", root)
    assert dataset.read(before["test"][0])["aerial"]["values"].any() and dataset.read("000001")["labels"].any()
    names = {path.name for path in reader.raw_files(root)}
    assert len(names) == len(reader.raw_files(root)) == 2 * 16 + 3 * 4 + 1


@pytest.mark.parametrize("above", ["latest/latest_download", "contest", "testing-ground", "my_test_copies", "test"])
def test_names_of_folders_above_the_archives_do_not_matter(root, tmp_path, above):
    before = parts_of(root)
    moved = tmp_path / "root" / above
    moved.parent.mkdir(parents=True)
    shutil.copytree(root, moved)
    (moved / layout.CENTRES).rename(tmp_path / "root" / layout.CENTRES)
    assert parts_of(tmp_path / "root") == before


ARCHIVES = {
    "flair_1_aerial_test": "test", "flair_2_aerial_test": "test", "FLAIR_2_toy_aerial_test": "test", "flair#1-test": "test", "flair#2-test": "test",
    "test": "test", "flair_aerial_train": "train", "flair_1_toy_aerial_train": "train", "train-val": "train", "latest": "train", "contest": "train",
    "attestation": "train", "my-test": None, "test2": None, "flair_test_2022": None,
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_test_archive_is_recognised_by_its_published_name(root, name):
    target = root / name / "part" if (root / name).exists() else root / name
    (root / "flair_aerial_test").rename(target)
    if ARCHIVES[name] is None:
        with pytest.raises(DataError, match=f"published names.*found a folder {name}"):
            open_dataset("flair", root)
        return
    assert ("test" in parts_of(root)) == (ARCHIVES[name] == "test")


def test_the_layout_of_the_copy_at_hugging_face(root):
    for kind, folder in (("train", "train-val"), ("test", "flair#2-test")):
        for sensor, name, short in (("aerial", "aerial", "img"), ("labels", "labels", "msk"), ("sen", "sentinel", "sen")):
            for path in sorted((root / f"flair_{sensor}_{kind}").glob(f"*/*/{short}/*")):
                zone = path.parents[1]
                copy_of(path, root / folder / zone.parent.name / name / zone.name / path.name)
            shutil.rmtree(root / f"flair_{sensor}_{kind}")
    assert {part: len(tiles) for part, tiles in parts_of(root).items()} == {"train": 8, "validation": 4, "test": 4}
    assert len(open_dataset("flair", root).read("000001")["s2"]["values"])
