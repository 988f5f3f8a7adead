"""The rasters of a map: what is in them, that they are cloud-optimised, and that equal pixels make equal files."""

import json
import xml.etree.ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rio_cogeo import cog_validate

from omnisat_jax.colours import class_colours
from omnisat_jax.errors import UserError
from omnisat_jax.predict.folder import LEVELS, NO_DATA, MapFolder
from omnisat_jax.predict.products.finishing import finish
from omnisat_jax.predict.products.options import ProductOptions
from tests.conftest import ROOT
from tests.predict.products import maps

PLAIN = ProductOptions()
TIFS = ("class.tif", "confidence.tif", "used.tif", "dates.tif", "probabilities.tif")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = maps.make_map(tmp_path_factory.mktemp("finished") / "map")
    return folder, finish(folder, PLAIN)


def test_the_documented_values_of_probabilities_are_those_of_the_file(finished):
    text = (ROOT / "docs" / "use.md").read_text()
    assert f"`uint8`, value / {LEVELS}; {NO_DATA} where no sensor has a known value" in text
    with rasterio.open(finished[1]["probabilities.tif"]) as source:
        assert set(source.dtypes) == {"uint8"} and set(source.scales) == {1 / LEVELS} and set(source.offsets) == {0} and source.nodata == NO_DATA


def read(path):
    with rasterio.open(path) as source:
        return source.read()


def test_pixels_and_names(finished):
    folder, products = finished
    arrays = maps.random_arrays(folder.info)
    for name in TIFS:
        with rasterio.open(products[name]) as source:
            np.testing.assert_array_equal(source.read().squeeze(), arrays[name.removesuffix(".tif")].squeeze())
            assert source.crs.to_epsg() == 32631 and source.transform[:6] == folder.info.grid.transform
            assert "alpha" not in {kind.name for kind in source.colorinterp}
    with rasterio.open(products["class.tif"]) as source:
        table = source.colormap(1)
        assert [table[value] for value in range(4)] == [(*bytes.fromhex(colour[1:]), 255) for colour in maps.COLOURS] and table[NO_DATA][3] == 0
        assert source.nodata == NO_DATA and source.descriptions == ("class",) and json.loads(source.tags()["CLASS_NAMES"]) == list(maps.CLASSES)
    with rasterio.open(products["probabilities.tif"]) as source:
        assert source.descriptions == maps.CLASSES and source.scales == (1 / 250,) * 4 and source.nodata == NO_DATA
    with rasterio.open(products["dates.tif"]) as source:
        assert source.descriptions == ("s2", "s1a") and source.dtypes == ("uint16", "uint16") and source.nodata is None
    with rasterio.open(products["used.tif"]) as source:
        assert source.dtypes == ("uint8",) and source.nodata == 0 and source.tags()["BIT_2"] == "spot"
    with rasterio.open(products["confidence.tif"]) as source:
        assert source.nodata == NO_DATA


def test_files_are_cloud_optimised_with_overviews_and_do_not_depend_on_blocks(tmp_path):
    made = {}
    for block in (512, 200):
        map_info = maps.info(maps.grid(rows=80, columns=70, block=block))
        folder = maps.write_map(tmp_path / str(block), map_info, maps.random_arrays(map_info))
        made[block] = finish(folder, PLAIN)
    assert set(made[512]) >= {*TIFS, "class.qml", "confidence.qml"}
    for name, path in made[512].items():
        if name in TIFS:
            assert cog_validate(path, strict=True) == (True, [], []), name
            assert path.read_bytes() == made[200][name].read_bytes(), name
    with rasterio.open(made[512]["class.tif"], overview_level=0) as source:
        assert source.overviews(1) == [] and set(np.unique(source.read())) <= {0, 1, 2, 3, NO_DATA}
        assert source.colormap(1)[1][:3] == tuple(bytes.fromhex(maps.COLOURS[1][1:]))
    confidence = read(made[512]["confidence.tif"])[0]
    with rasterio.open(made[512]["confidence.tif"], overview_level=0) as source:
        half = source.read(1)
    corner = confidence[:2, :2]
    assert (corner != NO_DATA).any() and abs(int(half[0, 0]) - corner[corner != NO_DATA].mean()) <= 0.5


def test_finishing_can_be_repeated_and_leaves_nothing_else(finished):
    folder, products = finished
    before, record = {name: path.read_bytes() for name, path in products.items()}, (folder.path / "run.json").read_bytes()
    again = finish(MapFolder.open(folder.path), PLAIN)
    assert {name: path.read_bytes() for name, path in again.items()} == before
    assert (folder.path / "run.json").read_bytes() == record
    assert {path.name for path in folder.path.iterdir()} == {*products, "run.json", "blocks"}


def test_the_record_keeps_what_was_there(finished):
    folder, products = finished
    record = json.loads((folder.path / "run.json").read_text())
    classes = maps.random_arrays(folder.info)["class"]
    assert MapFolder.open(folder.path).info == folder.info
    assert record["finished"] is True and record["seam_index"] == pytest.approx(0.5)
    assert record["pixels"] == {name: int((classes == value).sum()) for value, name in enumerate(maps.CLASSES)}
    assert record["share_unknown"] == pytest.approx((classes == NO_DATA).mean())
    assert record["products"]["class.tif"]["bytes"] == products["class.tif"].stat().st_size
    assert len(record["products"]["class.tif"]["xxh3"]) == 32 and set(record["products"]) == set(products)


def test_a_map_without_overlaps_has_no_seam_index(tmp_path):
    folder = maps.make_map(tmp_path / "map")
    for block in folder.info.grid.blocks():
        folder.write(block, folder.read(block) | {"seam": np.zeros(2)})
    finish(folder, PLAIN)
    assert json.loads((folder.path / "run.json").read_text())["seam_index"] is None


def test_images_alone_and_no_probabilities_make_fewer_files(tmp_path):
    folder = maps.make_map(tmp_path / "map", sensors=maps.SENSORS[2:], probabilities=False)
    assert {"dates.tif", "probabilities.tif"}.isdisjoint(finish(folder, PLAIN))


def test_used_grows_with_the_sensors(tmp_path):
    sensors = tuple(maps.MapSensor(f"m{number}", "image", ("a",), (), ()) for number in range(17))
    folder = maps.make_map(tmp_path / "map", sensors=sensors, probabilities=False)
    with rasterio.open(finish(folder, PLAIN)["used.tif"]) as source:
        assert source.dtypes == ("uint32",)
        np.testing.assert_array_equal(source.read(1), maps.random_arrays(folder.info)["used"])


def test_styles_name_the_classes(finished):
    _, products = finished
    entries = xml.etree.ElementTree.parse(products["class.qml"]).findall(".//paletteEntry")
    assert [(entry.get("value"), entry.get("color"), entry.get("label")) for entry in entries] == [
        (str(value), colour, name) for value, (name, colour) in enumerate(zip(maps.CLASSES, maps.COLOURS, strict=True))
    ]
    items = xml.etree.ElementTree.parse(products["confidence.qml"]).findall(".//colorrampshader/item")
    assert [item.get("value") for item in items] == ["0", "25", "50", "75", "100"]


def test_classes_without_colours_get_the_palette_of_the_pictures(tmp_path):
    folder = maps.make_map(tmp_path / "map", colours=())
    with rasterio.open(finish(folder, PLAIN)["class.tif"]) as source:
        assert ["#{:02x}{:02x}{:02x}".format(*source.colormap(1)[value][:3]) for value in range(4)] == [*class_colours(4)]


def test_progress_counts_to_the_end(tmp_path):
    folder, steps = maps.make_map(tmp_path / "map"), []
    finish(folder, PLAIN, lambda done, all_steps: steps.append((done, all_steps)))
    assert [done for done, _ in steps] == [*range(1, steps[-1][1] + 1)] and len({total for _, total in steps}) == 1


def test_an_unfinished_map_is_refused(tmp_path):
    folder = maps.make_map(tmp_path / "map")
    folder.file(next(folder.info.grid.blocks())).unlink()
    with pytest.raises(UserError, match="1 block missing"):
        finish(folder, PLAIN)
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "blocks"}


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("class", lambda array: array[:-1], "an array 'class'"),
        ("class", lambda array: np.full_like(array, 9), "classes: 0 to 3"),
        ("confidence", lambda array: np.full_like(array, 101), "confidence: 0 to 100"),
        ("used", lambda array: np.full_like(array, 8), "the bits of 3 sensors"),
        ("probabilities", lambda array: array[:2], "an array 'probabilities'"),
    ],
)
def test_a_block_of_another_map_is_refused(tmp_path, name, spoil, message):
    folder = maps.make_map(tmp_path / "map")
    maps.spoil_block(folder, name, spoil)
    with pytest.raises(UserError, match=message):
        finish(folder, PLAIN)


def test_a_file_that_was_written_badly_is_never_published(tmp_path, monkeypatch):
    folder, copy = maps.make_map(tmp_path / "map"), rasterio.shutil.copy

    def truncated(source, target, **options):
        copy(source, target, **options)
        with open(target, "rb+") as file:
            file.truncate(1500)

    monkeypatch.setattr(rasterio.shutil, "copy", truncated)
    with pytest.raises(UserError, match="class.tif: cannot be written"):
        finish(folder, PLAIN)
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "blocks"}
    assert "finished" not in json.loads((folder.path / "run.json").read_text())
