"""The crop of each parcel: exact counts, whatever the blocks, formats, overlaps and bad files."""

import json
import pathlib
import sys

import geopandas
import numpy as np
import pytest
import shapely
from shapely.affinity import rotate

from omnisat_jax.errors import UserError
from omnisat_jax.predict.area import read_area
from omnisat_jax.predict.folder import NO_DATA
from omnisat_jax.predict.options import ON_BAD
from omnisat_jax.predict.products import parcels, record
from omnisat_jax.predict.products.finishing import check, finish
from omnisat_jax.predict.products.options import ProductOptions
from omnisat_jax.predict.products.parcels import Parcels
from tests.predict.products import maps

LEFT, TOP, CRS = 500_000, 5_700_000, "EPSG:32631"


def pixels(left, top, right, bottom):
    """A rectangle of whole pixels."""
    return shapely.box(LEFT + 10 * left, TOP - 10 * bottom, LEFT + 10 * right, TOP - 10 * top)


def save(path, shapes, crs=CRS, **columns):
    frame = geopandas.GeoDataFrame(columns or {"id": range(len(shapes))}, geometry=shapes, crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


def random_shapes(count=60, seed=1):
    """Overlapping polygons with holes and several parts, some of them partly or fully outside of the map."""
    rng = np.random.default_rng(seed)
    shapes = []
    for x, y, size, angle in zip(*rng.uniform((-100, -100, 15, 0), (1300, 1000, 300, 90), (count, 4)).T, strict=True):
        shape = rotate(shapely.box(LEFT + x, TOP - y - size, LEFT + x + size, TOP - y), angle)
        shapes.append(shape.difference(shape.centroid.buffer(size / 5)))
    return [*shapes, shapely.MultiPolygon([pixels(1, 1, 3, 2), pixels(100, 80, 130, 95)])]


def count(folder, path):
    found = Parcels(folder.info, path)
    for block, arrays in folder.blocks():
        found.add(block, arrays)
    return found


def expected(folder, shape):
    """Pixels per class and unknown ones by the centers of all pixels."""
    classes = maps.random_arrays(folder.info)["class"]
    rows, columns = np.indices(classes.shape)
    inside = shapely.contains_xy(shape, LEFT + 10 * (columns + 0.5), TOP - 10 * (rows + 0.5))
    counts = np.bincount(classes[inside], minlength=256)
    return [*counts[:4]], counts[NO_DATA]


@pytest.mark.parametrize("block", [48, 200, 7])
def test_counts_are_those_of_the_centres_whatever_the_blocks(tmp_path, block):
    shapes, folder = random_shapes(), maps.make_map(tmp_path / "map", block)
    found = count(folder, save(tmp_path / "p.gpkg", shapes))
    for index, shape in enumerate(shapes):
        assert ([*found.pixels[index]], found.unknown[index]) == expected(folder, shape), index
    assert found.pixels.sum() > 5000


def test_neighbours_share_no_pixel_even_if_their_border_passes_through_centres(tmp_path):
    # Corners in the centers of pixels, and a slanted border from center to center.
    a, b, c, d = ((LEFT + 10 * x + 5, TOP - 10 * y - 5) for x, y in ((2, 2), (62, 2), (62, 62), (2, 62)))
    top, bottom = (LEFT + 10 * 22 + 5, TOP - 25), (LEFT + 10 * 42 + 5, TOP - 625)
    west, east = shapely.Polygon([a, top, bottom, d]), shapely.Polygon([top, b, c, bottom])
    for block in (48, 31):
        folder = maps.make_map(tmp_path / str(block), block)
        found = count(folder, save(tmp_path / f"{block}.gpkg", [west, east]))
        assert (found.pixels.sum(1) + found.unknown).tolist() == [1810, 1790]  # a center on the border is in the east


def test_the_table(tmp_path):
    classes = np.full((88, 120), NO_DATA, np.uint8)
    classes[:4, :10], classes[:3, 10:20], classes[40:44, :5] = 1, 3, 2
    folder = maps.make_map(tmp_path / "map", classes=classes)
    shapes = [pixels(0, 0, 20, 4), pixels(0, 40, 5, 44), pixels(60, 60, 70, 70), pixels(-500, 0, -400, 5), None]
    source = save(tmp_path / "parcels.geojson", shapes, name=["a", "b", "c", "d", "e"], farm=[1, 2, 3, 4, 5])
    products = finish(folder, ProductOptions(parcels=source, on_bad="mask"))
    table = geopandas.read_parquet(products["parcels.parquet"])
    assert products["parcels.parquet"] == folder.path / "parcels.parquet" and table.crs == CRS and table.name.tolist() == ["a", "b", "c", "d", "e"]
    assert table.columns.tolist() == ["name", "farm", "crop", "share", "runner_up", "runner_up_share", "confidence", "pixels", "unknown_pixels", "used", "geometry"]
    first, second = table.iloc[0], table.iloc[1]
    assert (first.crop, first.runner_up, first.pixels, first.unknown_pixels, first.used) == ("Winter wheat", "Corn", 70, 10, "s2,s1a,spot")
    assert first.share == 40 / 70 and first.runner_up_share == 30 / 70
    arrays = maps.random_arrays(folder.info, classes=classes)
    known = classes[:4, :20] != NO_DATA
    assert first.confidence == arrays["confidence"][:4, :20][known].mean()
    assert second.crop == "Prairie & <meadow>" and second.share == 1 and table.runner_up.isna().tolist() == [False, True, True, True, True]
    unseen = table.iloc[2:]
    assert unseen[["crop", "share", "runner_up", "runner_up_share", "confidence", "used"]].isna().to_numpy().all()
    assert unseen.pixels.tolist() == [0, 0, 0] and unseen.unknown_pixels.tolist() == [100, 0, 0]
    assert table.geometry.isna().tolist() == [False, False, False, False, True]
    record = json.loads((folder.path / "run.json").read_text())
    assert record["parcels"] == {"file": str(source), "count": 5, "unseen": 3, "unusable": 1, "problems": "no geometry in row 5"} and "parcels.parquet" in record["products"]


def test_an_equal_number_of_pixels_goes_to_the_first_class(tmp_path):
    classes = np.zeros((88, 120), np.uint8)
    classes[:, ::2], classes[:, 1::2] = 3, 1
    found = count(maps.make_map(tmp_path / "map", classes=classes), save(tmp_path / "p.gpkg", [pixels(0, 0, 4, 4)])).table()
    assert found.crop.tolist() == ["Winter wheat"] and found.runner_up.tolist() == ["Corn"] and found.share.tolist() == [0.5]


@pytest.mark.parametrize("source", ["p.gpkg", "p.geojson", "p.parquet", "p.shp"])
@pytest.mark.parametrize("out", ["crops.gpkg", "crops.parquet"])
def test_formats(tmp_path, source, out):
    shapes, folder = random_shapes(5), maps.make_map(tmp_path / "map")
    path = save(tmp_path / source, shapes, id=range(6), label=list("äbcdef"))
    products = finish(folder, ProductOptions(parcels=path, parcels_out=tmp_path / out))
    assert [*products.values()].count(tmp_path / out) == 1
    read = geopandas.read_parquet if out.endswith("parquet") else geopandas.read_file
    table = read(tmp_path / out)
    known = [sum(expected(folder, shape)[0]) for shape in shapes]
    assert table.pixels.tolist() == known and table.label.tolist() == list("äbcdef") and table.crs == CRS


def test_other_reference_systems_are_brought_to_that_of_the_map(tmp_path):
    folder, shapes = maps.make_map(tmp_path / "map"), random_shapes(20)
    degrees = geopandas.GeoSeries(shapes, crs=CRS).to_crs("EPSG:4326")
    found = count(folder, save(tmp_path / "p.geojson", [*degrees], crs="EPSG:4326"))
    assert found.frame.crs == CRS
    for index, shape in enumerate(shapes):  # GeoJSON has 7 decimals, about 1 cm
        assert abs(found.pixels[index].sum() - sum(expected(folder, shape)[0])) <= 1


BOW = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])


@pytest.mark.parametrize(
    ("shapes", "crs", "columns", "message"),
    [
        ([], CRS, {}, "expected at least one polygon, found none"),
        ([pixels(0, 0, 2, 2)], None, {}, "expected a coordinate reference system, found none"),
        ([pixels(0, 0, 2, 2), shapely.Point(0, 0)], CRS, {}, "expected a valid polygon in every row, found a Point in row 2"),
        ([BOW] * 7, CRS, {}, "found an invalid polygon .Self-intersection.* in row 1, and problems in 6 more rows"),
        ([pixels(0, 0, 2, 2)], CRS, {"Crop": ["x"]}, "found Crop. Rename"),
        ([shapely.box(100, 91, 110, 95)], "EPSG:4326", {}, "brought to the map's reference system"),
    ],
)
def test_bad_parcels_are_refused_in_one_sentence(tmp_path, shapes, crs, columns, message):
    folder = maps.make_map(tmp_path / "map")
    with pytest.raises(UserError, match=message) as error:
        finish(folder, ProductOptions(parcels=save(tmp_path / "p.parquet", shapes, crs, **columns)))
    assert "p.parquet" in str(error.value) and "\n" not in str(error.value)
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "blocks"}


@pytest.mark.parametrize("name", ["p.gpkg", "p.parquet", "p.geojson"])
def test_files_of_another_kind_are_refused(tmp_path, name):
    (tmp_path / name).write_text("no polygons")
    with pytest.raises(UserError, match="expected a GeoPackage, GeoJSON, GeoParquet or shapefile"):
        finish(maps.make_map(tmp_path / "map"), ProductOptions(parcels=tmp_path / name))


def test_a_table_without_geometries_is_refused(tmp_path):
    (tmp_path / "p.csv").write_text("id,name\n1,a\n")
    with pytest.raises(UserError, match="expected polygons, found a table without a geometry column. Name"):
        finish(maps.make_map(tmp_path / "map"), ProductOptions(parcels=tmp_path / "p.csv"))
    geopandas.pd.DataFrame({"id": [1]}).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(UserError, match="p.parquet: expected polygons, found a table without a geometry column"):
        finish(maps.make_map(tmp_path / "map2"), ProductOptions(parcels=tmp_path / "p.parquet"))


POINT, LINE = shapely.Point(LEFT, TOP), shapely.LineString([(LEFT, TOP), (LEFT + 9, TOP)])


@pytest.mark.parametrize(
    ("shapes", "found"), [([POINT, None], "points"), ([LINE, shapely.MultiLineString([LINE])], "lines"), ([shapely.MultiPoint([POINT]), LINE], "points and lines")]
)
@pytest.mark.parametrize("on_bad", ["raise", "mask"])
def test_points_and_lines_are_no_parcels(tmp_path, shapes, found, on_bad):
    with pytest.raises(UserError, match=rf"expected polygons, found {found}\. Name a file or a layer of polygons\.$"):
        finish(maps.make_map(tmp_path / "map"), ProductOptions(parcels=save(tmp_path / "p.parquet", shapes), on_bad=on_bad))


def test_the_table_of_other_parcels_is_not_overwritten(tmp_path):
    folder, a, b = maps.make_map(tmp_path / "map"), save(tmp_path / "a.gpkg", [pixels(0, 0, 4, 4)]), save(tmp_path / "b.gpkg", [pixels(0, 0, 8, 8)])
    first = finish(folder, ProductOptions(parcels=a))["parcels.parquet"].read_bytes()
    assert finish(folder, ProductOptions(parcels=a))["parcels.parquet"].read_bytes() == first
    finish(folder, ProductOptions(parcels=b, parcels_out=tmp_path / "b.parquet"))  # and what made the first table is still known
    for out in (None, folder.path / "parcels.parquet"):
        with pytest.raises(UserError, match=r"parcels\.parquet: expected the table of .*b\.gpkg, .*found that of .*a\.gpkg; choose another --parcels_out"):
            finish(folder, ProductOptions(parcels=b, parcels_out=out))
    with pytest.raises(UserError, match="b.parquet: expected the table of"):
        finish(folder, ProductOptions(parcels=a, parcels_out=tmp_path / "b.parquet"))
    assert (folder.path / "parcels.parquet").read_bytes() == first
    (folder.path / "parcels.parquet").unlink()
    assert finish(folder, ProductOptions(parcels=b))["parcels.parquet"].read_bytes() != first


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        finish(maps.make_map(tmp_path / "map"), ProductOptions(parcels=tmp_path / "p.gpkg"))


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    folder = maps.make_map(tmp_path / "map")
    monkeypatch.setitem(sys.modules, "geopandas", None)
    finish(folder, ProductOptions())
    for options in (ProductOptions(parcels=tmp_path / "p.gpkg"), ProductOptions(polygons=0)):
        with pytest.raises(UserError, match=r'need geopandas: pip install "omnisat-jax\[vector\]"'):
            finish(folder, options)


def broken(*bad):
    return [pixels(0, 0, 20, 4), *bad, pixels(0, 40, 5, 44)]


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ([BOW, BOW], r"found an invalid polygon \(Self-intersection.*\) in row 2, and problems in 1 more row. Repair them .* --on_bad mask"),
        ([None, BOW], "found no geometry in row 2, and problems in 1 more row"),
        ([shapely.Polygon()], "found an empty geometry in row 2. Remove"),
        ([shapely.Point(LEFT, TOP)], "found a Point in row 2. Remove them, or"),
        ([shapely.LineString([(LEFT, TOP), (LEFT + 9, TOP)])], "found a LineString in row 2. Remove them, or"),
    ],
)  # fmt: skip
def test_parcels_without_a_valid_polygon_are_named_or_left_without_a_result(tmp_path, bad, text):
    folder, path = maps.make_map(tmp_path / "map"), save(tmp_path / "p.parquet", broken(*bad))
    with pytest.raises(UserError, match=text):
        finish(folder, ProductOptions(parcels=path))
    table = geopandas.read_parquet(finish(folder, ProductOptions(parcels=path, on_bad="mask"))["parcels.parquet"])
    good = [0, len(bad) + 1]
    alone = count(folder, save(tmp_path / "good.parquet", broken())).table()
    for name in parcels.COLUMNS:
        assert table[name].iloc[good].tolist() == alone[name].tolist(), name
    assert table.id.tolist() == list(range(len(bad) + 2)) and table.crop.isna().sum() == len(bad) and not table.pixels.iloc[1:-1].any()
    assert table.geometry.iloc[1:-1].tolist() == bad
    found = json.loads((folder.path / "run.json").read_text())["parcels"]
    assert found["unusable"] == len(bad) and "in row 2" in found["problems"]
    assert f"{len(bad)} of {len(bad) + 2} parcels left without a result" in record.remarks(folder)[0]


def test_a_file_of_several_layers(tmp_path):
    folder, path = maps.make_map(tmp_path / "map"), tmp_path / "p.gpkg"
    for layer, shapes in (("fields", [pixels(0, 0, 20, 4)]), ("wells", [shapely.Point(LEFT, TOP)])):
        geopandas.GeoDataFrame({"id": [layer]}, geometry=shapes, crs=CRS).to_file(path, layer=layer)
    assert len(count(folder, path).frame) == 1  # the only layer that holds polygons
    geopandas.GeoDataFrame({"id": [1, 2]}, geometry=broken(), crs=CRS).to_file(path, layer="farms")
    with pytest.raises(UserError, match="p.gpkg: expected one layer of polygons, found 2: fields, farms. Name one of them after a colon, such as p.gpkg:fields"):
        count(folder, path)
    assert [len(count(folder, f"{path}:{layer}").frame) for layer in ("fields", "farms")] == [1, 2]
    products = finish(folder, ProductOptions(parcels=pathlib.Path(f"{path}:farms"), parcels_out=tmp_path / "crops.gpkg"))
    assert len(geopandas.read_file(products["parcels.gpkg"])) == 2
    for layer, text in (("ways", "expected a layer ways, found the layers fields, wells, farms"), ("wells", "expected polygons, found points")):
        with pytest.raises(UserError, match=text):
            count(folder, f"{path}:{layer}")
    with pytest.raises(UserError, match="another file than --parcels"):
        ProductOptions(parcels=pathlib.Path(f"{path}:farms"), parcels_out=path)
    assert len(read_area(f"{path}:farms").geometries) == 2
    with pytest.raises(UserError, match="expected one layer of polygons"):
        read_area(path)
    with pytest.raises(UserError, match="expected a file with layers"):
        count(folder, f"{save(tmp_path / 'one.parquet', broken())}:x")
    strange = save(tmp_path / "a:b.gpkg", broken())
    assert len(count(folder, strange).frame) == 2


@pytest.mark.parametrize("name", [*parcels.COLUMNS, "Crop", "geometry"])
def test_columns_that_the_result_adds_are_refused(tmp_path, name):
    folder = maps.make_map(tmp_path / "map")
    table = geopandas.GeoDataFrame({name: ["mine", "mine"], "shape": broken()}, geometry="shape", crs=CRS)
    table.to_parquet(tmp_path / "p.parquet")
    for on_bad in ON_BAD:
        options = ProductOptions(parcels=tmp_path / "p.parquet", on_bad=on_bad)
        for attempt, arguments in ((finish, (folder, options)), (check, (options,))):
            with pytest.raises(UserError, match=f"p.parquet: expected columns of other names than crop, .*, found {name}. Rename or remove them"):
                attempt(*arguments)


def test_polygons_of_an_area_are_never_left_out(tmp_path):
    assert len(read_area(save(tmp_path / "a.gpkg", broken(None))).geometries) == 2  # a row without ground
    with pytest.raises(UserError, match="b.gpkg: expected a valid polygon in every row, found an invalid polygon"):
        read_area(save(tmp_path / "b.gpkg", broken(BOW)))
