"""TreeSatAI-TS: series, aerial images, labels and lists in all their forms, and what is refused."""

import json
import pathlib
import shutil

import h5py
import numpy as np
import pytest
import rasterio

from data.reading.datasets import open_dataset
from data.reading.raw import DataError
from data.treesat import reader, simulated
from data.treesat.simulated import simulate
from omnisat_jax.missing import NO_DATA_INT16
from tests.faults.breaking import link_out


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("treesat") / "t", tiles=5, tile_size=304, seed=0)


@pytest.fixture
def root(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "t")


def first(root):
    return (root / "train_filenames.lst").read_text().split()[0].removesuffix(".tif")


def series_of(root):
    return root / "sentinel" / f"{first(root)}.h5"


def aerial_of(root):
    return root / "aerial" / f"{first(root)}.tif"


def change(root, name, function):
    """Replaces an array of the first tile by a function of it; None removes it."""
    with h5py.File(series_of(root), "r+") as file:
        found = file[name][...]
        del file[name]
        if (new := function(found)) is not None:
            file[name] = new


def read(root):
    return open_dataset("treesat", root).read(first(root))


def change_labels(root, function):
    path = root / reader.LABELS
    table = json.loads(path.read_text())
    table[f"{first(root)}.tif"] = function(table[f"{first(root)}.tif"])
    path.write_text(json.dumps(table))


def write_aerial(root, values=None, **profile):
    with rasterio.open(aerial_of(root)) as source:
        found, before = source.read(), source.profile
    values = found if values is None else values
    count, height, width = values.shape
    with rasterio.open(aerial_of(root), "w", **(before | {"count": count, "height": height, "width": width} | profile)) as target:
        target.write(values)


def rename_products(root, pattern, positions):
    def rename(names):
        names = names.astype("S60")
        for position in positions:
            names[position] = names[position].replace(b"N0211", pattern)
        return names

    change(root, "sen-2-products", rename)


def rest(values):
    """The values of a series where there are no clouds."""
    return values.astype(np.int64)[values != NO_DATA_INT16]


def test_dates_of_later_baselines_are_harmonised(root):
    change(root, "sen-2-data", lambda a: np.abs(a) + 300)  # dark, but not dark enough to be refused
    before = read(root)["s2"]["values"]
    assert list(open_dataset("treesat", root).inspect(first(root))) == []
    later = (1, 5, 20)
    rename_products(root, b"N0500", later)
    raised = np.zeros(45)
    raised[list(later)] = 1000
    change(root, "sen-2-data", lambda a: a + raised[:, None, None, None].astype(np.float32))
    np.testing.assert_array_equal(read(root)["s2"]["values"], before)
    (finding,) = open_dataset("treesat", root).inspect(first(root))
    assert finding.kind == "doubt" and "N0500 for 3 of 45 dates" in finding.found and finding.tile == first(root)


@pytest.mark.parametrize("name", [b"N9999", b"nothing"])
def test_unknown_baselines_beside_later_ones_are_reported(root, name):
    change(root, "sen-2-data", lambda a: np.abs(a) + 1300)
    before = read(root)["s2"]["values"]
    rename_products(root, name, [i for i in range(45) if i not in (1, 5)])
    np.testing.assert_array_equal(read(root)["s2"]["values"], before)
    assert list(open_dataset("treesat", root).inspect(first(root))) == []
    rename_products(root, b"N0500", (1, 5))
    (finding,) = open_dataset("treesat", root).inspect(first(root))
    assert finding.kind == "baseline" and "none for 43 of 45 dates" in finding.found and "N0500" in finding.expected


def test_values_without_the_offset_of_their_baseline_are_refused(root):
    rename_products(root, b"N0400", range(45))
    with pytest.raises(DataError, match="as the product names imply.*% of them below -500") as error:
        read(root)
    assert error.value.finding.kind == "baseline"


@pytest.mark.parametrize("name", [b"N0301", b"N0000", b"N9x", b"X0500"])
def test_earlier_or_missing_baselines_change_nothing(root, name):
    before = read(root)["s2"]["values"]
    rename_products(root, name, range(45))
    np.testing.assert_array_equal(read(root)["s2"]["values"], before)


def test_negative_reflectance_is_kept_and_much_of_it_is_reported(root):
    before = read(root)["s2"]["values"]
    change(root, "sen-2-data", lambda a: a - 1000)
    np.testing.assert_array_equal(rest(read(root)["s2"]["values"]), rest(before) - 1000)
    (finding,) = open_dataset("treesat", root).inspect(first(root))
    assert finding.kind == "baseline" and "subtracted twice" in finding.found


def test_values_are_rounded_and_never_clipped(root):
    change(root, "sen-2-data", lambda a: a * 0 + np.float32(1234.6))
    assert set(rest(read(root)["s2"]["values"])) == {1235}
    change(root, "sen-2-data", lambda a: np.where(np.arange(a.size).reshape(a.shape) == 7, -0.4, a))
    assert read(root)["s2"]["values"].min() == NO_DATA_INT16


def test_unknown_pixels_of_every_kind_are_no_data(root):
    def holes(array):
        array = array.astype(np.float64)
        for position, value in enumerate((np.nan, np.inf, -3.4e38, -9999, -32768, 1e31)):
            array[:, 3, 0, position] = value
        array[:, :, 1, 0] = 0
        return array

    change(root, "sen-2-masks", np.zeros_like)
    change(root, "sen-2-data", holes)
    values = read(root)["s2"]["values"]
    assert (values[:, 0] == NO_DATA_INT16).all() and (values[:, 1, 0] == NO_DATA_INT16).all()
    assert (values[:, 1, 1:] != NO_DATA_INT16).all() and (values[:, 2:] != NO_DATA_INT16).all()


EMPTY = {
    "no images": (lambda r: [change(r, f"sen-2-{n}", lambda a: a[:0]) for n in ("data", "products", "masks")], "without images"),
    "masks that are not numbers": (lambda r: change(r, "sen-2-masks", lambda a: a * np.nan), "in its 45 images"),
    "everything cloudy": (lambda r: change(r, "sen-2-masks", lambda a: a * 0 + 51), "in its 45 images"),
    "zeros": (lambda r: change(r, "sen-2-data", np.zeros_like), "in its 45 images"),
    "undeclared fill": (lambda r: change(r, "sen-2-data", lambda a: np.full_like(a, -3.4e38)), "in its 45 images"),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_wholly_unknown_series_is_absent_with_a_remark(root, name):
    fault, message = EMPTY[name]
    fault(root)
    example = read(root)
    assert len(example["s2"]["values"]) == len(example["s2"]["dates"]) == 0 and message in example["remarks"]["s2"]
    assert len(example["s1a"]["values"]) and list(example["remarks"]) == ["s2"]


def test_a_file_without_one_of_the_series_lacks_it(root):
    change(root, "sen-1-asc-data", lambda a: None)
    example = read(root)
    assert len(example["s1a"]["values"]) == 0 and len(example["s1d"]["values"]) and not example["remarks"]


def test_an_array_named_masks_of_another_shape_is_ignored(root):
    change(root, "sen-2-masks", lambda a: np.full((45, 10, 6, 6), 100.0))
    assert read(root)["s2"]["valid"].all()


def test_power_that_is_not_positive_is_unknown(root):
    def noisy(array):
        array[0, 0, 0, :4] = (0, -1e-9, -3.4e38, np.inf)
        return array

    change(root, "sen-1-asc-data", noisy)
    values = read(root)["s1a"]["values"][0, 0, :, 0]
    assert np.isnan(values[:4]).all() and np.isfinite(values[4:]).all()


def external(root):
    with h5py.File(root / "secret.h5", "w") as other:
        other["x"] = np.ones((45, 10, 6, 6), np.float32)
    with h5py.File(series_of(root), "r+") as file:
        del file["sen-2-data"]
        file["sen-2-data"] = h5py.ExternalLink(str(root / "secret.h5"), "x")


def external_storage(root):
    (root / "secret.bin").write_bytes(bytes(45 * 360 * 4))
    with h5py.File(series_of(root), "r+") as file:
        del file["sen-2-data"]
        file.create_dataset("sen-2-data", (45, 10, 6, 6), "f4", external=[(str(root / "secret.bin"), 0, h5py.h5f.UNLIMITED)])


def group(root):
    with h5py.File(series_of(root), "r+") as file:
        del file["sen-2-data"]
        file.create_group("sen-2-data")["self"] = h5py.SoftLink("/sen-2-data")


def huge(root):
    with h5py.File(series_of(root), "r+") as file:
        del file["sen-2-data"]
        file.create_dataset("sen-2-data", (10**6, 10, 600, 600), "f4", chunks=(1, 1, 600, 600), compression="gzip")


def replace(path, content):
    path.unlink()
    path.write_bytes(content)


FAULTS = {
    "radar in dB": (lambda r: change(r, "sen-1-asc-data", lambda a: 10 * np.log10(a)), "found 100 % negative values: this looks like dB"),
    "radar as integers": (lambda r: change(r, "sen-1-des-data", lambda a: np.ones(a.shape, np.int16)), "floating point numbers, found int16"),
    "numbers beyond int16": (lambda r: change(r, "sen-2-data", lambda a: np.full(a.shape, 40_000, np.uint16)), "-32,767 to 32,767, found 40,000"),
    "swapped axes": (lambda r: change(r, "sen-2-data", lambda a: a.transpose(0, 2, 3, 1)), r"\(N, 10, 6, 6\), found shape \(45, 6, 6, 10\)"),
    "no products": (lambda r: change(r, "sen-2-products", lambda a: None), "product names with the dates, found none"),
    "fewer products": (lambda r: change(r, "sen-2-products", lambda a: a[:-1]), r"45 strings, found shape \(44,\)"),
    "products that are not text": (lambda r: change(r, "sen-2-products", lambda a: np.arange(45)), "strings, found int64"),
    "products that are not UTF-8": (lambda r: change(r, "sen-2-products", lambda a: np.array([b"\xff\xfe"] * 45)), "strings in UTF-8"),
    "products without a date": (lambda r: change(r, "sen-2-products", lambda a: np.array([b"S2A"] * 45)), "a product name with a sensing date"),
    "products of the year 1": (lambda r: change(r, "sen-2-products", lambda a: np.array([b"S2A_00010101T"] * 45)), "year 1 is not"),
    "a scalar": (lambda r: change(r, "sen-2-data", lambda a: 3.0), r"found shape \(\)"),
    "texts for numbers": (lambda r: change(r, "sen-2-data", lambda a: np.full((45, 10, 6, 6), b"x")), "found .*S1"),
    "a link to another file": (external, "an array in this file, found a link to another location"),
    "numbers in another file": (external_storage, "stored in other files"),
    "a group": (group, "an array, found a group"),
    "a huge declared size": (huge, r"found shape \(1000000, 10, 600, 600\)"),
    "a pointer of Git LFS": (lambda r: replace(series_of(r), b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "that can be read"),
    "a truncated file": (lambda r: replace(series_of(r), series_of(r).read_bytes()[:5000]), "that can be read"),
    "a link out of the dataset": (lambda r: link_out(series_of(r)), "inside the dataset"),
    "a broken aerial image": (lambda r: aerial_of(r).write_bytes(b"II*\0"), "an unreadable file"),
    "an aerial image of three bands": (lambda r: write_aerial(r, np.ones((3, 304, 304), np.uint8)), "4 bands uint8.*found 3 bands"),
    "a small aerial image": (lambda r: write_aerial(r, np.ones((4, 299, 299), np.uint8)), "at least 300x300 px, found .* 299x299 px"),
    "an oblong aerial image": (lambda r: write_aerial(r, np.ones((4, 304, 320), np.uint8)), "square image, found .* 304x320 px"),
    "aerial pixels of 1 m": (
        lambda r: write_aerial(r, transform=rasterio.transform.from_origin(500_000, 5_800_000, 1, 1)), "pixels of 0.2 m, found 1 m"
    ),
    "labels that are not a list": (lambda r: change_labels(r, lambda row: {"Acer": 1}), "a list"),
    "labels without shares": (lambda r: change_labels(r, lambda row: ["Acer"]), "a list"),
    "a share that is not a number": (lambda r: change_labels(r, lambda row: [["Acer", "much"]]), "a finite number from 0 to 1"),
    "a share in percent": (lambda r: change_labels(r, lambda row: [["Acer", 93.0]]), "a finite number from 0 to 1"),
    "an unknown genus": (lambda r: change_labels(r, lambda row: [["Yggdrasil", 0.9]]), "genera among Abies.*found Yggdrasil"),
    "a genus with an escape": (lambda r: change_labels(r, lambda row: [["\x1b[31mAcer", 0.9]]), "printable text"),
    "a genus twice": (lambda r: change_labels(r, lambda row: [["Acer", 0.9], ["Acer", 0.05]]), "Acer more than once"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named(root, name):
    fault, message = FAULTS[name]
    fault(root)
    dataset = open_dataset("treesat", root)
    with pytest.raises(DataError, match=message) as error:
        dataset.read(first(root))
    assert f"tile {first(root)}" in str(error.value) and str(root) in str(error.value)
    for tile in (tile for tiles in dataset.parts.values() for tile in tiles if tile != first(root)):
        assert all(len(dataset.read(tile)[modality]["values"]) for modality in dataset.modalities)


LISTS = {
    "a line that is a path": (b"../../x.tif\n", "the name of a tile"),
    "not UTF-8": (b"\xff\xfe\n", "text in UTF-8"),
    "a tile without labels": (b"Acer_9.tif\n", "tile Acer_9: .*labels of every tile"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_broken_list_is_named(root, name):
    content, message = LISTS[name]
    (root / "test_filenames.lst").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_dataset("treesat", root)


@pytest.mark.parametrize("text", ["", "[]", '{"a.tif": []', "[" * 10**5, "null", '{"a.tif": [], "a": []}'])
def test_a_broken_label_table_is_named(root, text):
    (root / reader.LABELS).write_text(text)
    with pytest.raises(DataError, match="multi_labels.json"):
        open_dataset("treesat", root)


def test_a_folder_without_images_is_refused(root):
    for folder in ("aerial", "sentinel"):
        shutil.rmtree(root / folder)
    with pytest.raises(DataError, match="files in aerial or sentinel"):
        open_dataset("treesat", root)


def test_line_ends_and_byte_order_marks_of_lists_do_not_matter(root):
    before = open_dataset("treesat", root).parts
    for name in reader.PARTS.values():
        lines = (root / name).read_text().split()
        (root / name).write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n\r\n")
    assert open_dataset("treesat", root).parts == before


def test_names_may_have_dots_and_suffixes_upper_case(root):
    old, new = first(root), "plot_1.5_a.h"
    for folder, suffix in (("aerial", "TIF"), ("sentinel", "H5")):
        path = root / folder / f"{old}.{suffix.lower()}"
        path.rename(path.with_name(f"{new}.{suffix}"))
    for path in (root / reader.LABELS, root / "train_filenames.lst"):
        path.write_text(path.read_text().replace(f"{old}.tif", f"{new}.tif"))
    assert first(root) == new
    example = read(root)
    assert all(len(example[name]["values"]) for name in (*reader.SERIES, "aerial", "location"))


def test_the_fourth_band_is_a_measurement_although_it_is_called_alpha(root):
    values = np.random.default_rng(0).integers(0, 3, (4, 304, 304)).astype(np.uint8)
    write_aerial(root, values, photometric="RGB", alpha="YES")
    with rasterio.open(aerial_of(root)) as source:
        assert source.colorinterp[3] == rasterio.enums.ColorInterp.alpha
    np.testing.assert_array_equal(read(root)["aerial"]["values"][0], values[:, 2:302, 2:302].transpose(1, 2, 0))


def test_an_empty_aerial_image_is_absent_with_a_remark(root):
    write_aerial(root, np.zeros((4, 304, 304), np.uint8))
    example = read(root)
    assert example["aerial"]["values"].shape == (0, 300, 300, 4) and "0" in example["remarks"]["aerial"]


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_does_not_crash_the_process():
    traits = {"evergreen": True, "depth": np.ones(1), "radar": np.zeros(2), "out": 100, "off": 300}
    second = np.zeros((simulated.AERIAL, simulated.AERIAL), bool)
    with pytest.raises(OSError, match="No space left"):
        simulated._write_series(np.random.default_rng(0), pathlib.Path("/dev/full"), [traits, traits], second)
