"""Maps from data cubes: dimensions, coordinates, reference systems, values that are no measurements; and what is refused."""

import json
import sys

import numpy as np
import pytest
from rasterio.crs import CRS

from omnisat_jax.errors import UserError
from omnisat_jax.predict.cube import parse_cube
from omnisat_jax.predict.folder import NO_DATA
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.region import Region
from omnisat_jax.predict.run import make_map
from omnisat_jax.predict.sensors import Scaling
from tests.predict.region import LEFT, TOP, Facts, Identity, put, scene, spec
from tests.predict.stac import item, save
from tests.predict.test_inputs import three
from tests.predict.test_run import joined

xarray = pytest.importorskip("xarray", reason='reading cubes needs the extra `cube`: pip install -e ".[cube]"')
pytest.importorskip("zarr", reason='reading cubes needs the extra `cube`: pip install -e ".[cube]"')

CLASSES = scene()
DATES = ("2021-01-05", "2021-03-06")
WKT = CRS.from_epsg(32631).to_wkt()


def dataset(values, dims=("time", "y", "x"), dates=DATES, name="v", attributes=None, **coords):
    """A cube with one variable on the grid of `put`."""
    values = np.asarray(values)
    height, width = (values.shape[dims.index(dim)] for dim in ("y", "x"))
    places = {"x": LEFT + 5 + 10.0 * np.arange(width), "y": TOP - 5 - 10.0 * np.arange(height), "spatial_ref": ((), 0, {"crs_wkt": WKT})}
    places |= {"time": np.array(dates, "datetime64[ns]")} if "time" in dims else {}
    found = xarray.Dataset({name: (dims, values, {"grid_mapping": "spatial_ref"} | (attributes or {}))}, places | coords)
    return found.drop_vars([key for key, value in coords.items() if value is None])


def region(path, *texts, scl=None):
    return Region.from_arguments([], [], {}, others=parse_cube(path, texts or ("s=v",), scl or {}))


def mapped(here, cube, *texts, model=None, options=None, version=3, scl=None):
    """The map of a cube, which is written in a format of Zarr."""
    number = len(list(here.glob("*.zarr")))
    cube.to_zarr(here / f"cube{number}.zarr", zarr_format=version, consolidated=version == 2)
    return make_map(model or Identity(), region(here / f"cube{number}.zarr", *texts, scl=scl), here / f"out{number}", options)


def series(*frames):
    return np.stack(frames).astype(np.float32)


@pytest.mark.parametrize("version", [2, 3])
def test_a_variable_of_one_band(tmp_path, version):
    found = mapped(tmp_path, dataset(series(CLASSES, 0 * CLASSES), name="a"), "s=a", version=version)
    assert (joined(found) == CLASSES).all() and found.info.sensors[0].dates == DATES
    assert (joined(found, "dates") == 2).all()


@pytest.mark.parametrize("dims", [("time", "band", "y", "x"), ("band", "x", "time", "y"), ("y", "x", "band", "time")])
def test_a_dimension_of_bands(tmp_path, dims):
    values = np.arange(4)[:, None, None, None] * np.ones((4, 2, 24, 40), np.float32)
    values[3] = CLASSES
    order = [("band", "time", "y", "x").index(dim) for dim in dims]
    model = three("C", "b", "A")
    model.trained.statistics["s"]["mean"] = [2.0] * 3
    cube = dataset(values.transpose(order), dims, band=["zz", "a", "b", "c"])
    assert (joined(mapped(tmp_path, cube, model=model)) == CLASSES).all()
    assert (model.batches[0]["s"]["values"][0, 0, ..., 1:] == [2, 1]).all()


def test_a_variable_per_band(tmp_path):
    cube = dataset(series(CLASSES, CLASSES), name="B1")
    cube["B2"] = cube["B1"] * 0 + 1
    model = three("B2", "B1", "B1x")
    with pytest.raises(UserError, match="expected the bands B2, B1, B1x, .*found B1, B2"):
        mapped(tmp_path, cube, "s=B1,B2", model=model)
    model = Identity(spec(channels=2), bands=("b1", "B2"))
    assert (joined(mapped(tmp_path, cube, "s=B2,B1", model=model)) == CLASSES).all()
    assert (model.batches[0]["s"]["values"][0, 0, ..., 1] == 1).all()


def test_rows_that_run_northwards_and_dates_in_any_order(tmp_path):
    cube = dataset(series(CLASSES, 0 * CLASSES, CLASSES), dates=("2021-03-06", "2021-01-05", "2021-02-01"), name="a")
    folder = mapped(tmp_path, cube.isel(y=slice(None, None, -1)), "s=a")
    assert (joined(folder) == CLASSES).all()
    assert folder.info.sensors[0].dates == ("2021-01-05", "2021-02-01", "2021-03-06")


def test_positions_of_one_date_are_a_mosaic(tmp_path):
    west, east = series(CLASSES, CLASSES)
    west[:, 20:], east[:, :20] = np.nan, np.nan
    model = Identity()
    folder = mapped(tmp_path, dataset(series(west, east), dates=("2021-01-05T10:54:21", "2021-01-05T10:54:36"), name="a"), "s=a", model=model)
    assert (joined(folder) == CLASSES).all() and model.batches[0]["s"]["valid"].sum(1).max() == 1


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "dtype, attributes, facts, expected",
    [
        (np.float32, {}, {}, 4),
        (np.uint16, {"_FillValue": np.uint16(9)}, {}, 4),
        (np.int16, {"scale_factor": 0.5, "add_offset": -1.0, "_FillValue": np.int16(9)}, {}, 2),  # stored integers, as of GeoTIFFs
        (np.int16, {"scale_factor": 0.5, "add_offset": 1.0, "missing_value": np.int16(9)}, {"scale": (0.25,), "offset": (0.0,)}, 12),
        (np.float32, {"_FillValue": np.float32(9)}, {"scale": (2.0,), "offset": (-2.0,)}, 3),  # physical values
    ],
)
def test_values_as_cf_declares_them(tmp_path, dtype, attributes, facts, expected, version):
    values = np.full((2, 24, 40), 4, dtype)
    fills = [value for key, value in attributes.items() if key in ("_FillValue", "missing_value")] or [np.nan] * (dtype == np.float32)
    values[:, 3:5, 6:9] = (fills or [4])[0]
    cube = dataset(values, name="a")
    cube["a"].encoding = attributes | {"dtype": dtype}
    raw = xarray.Dataset({"a": cube["a"].variable}, cube.coords)
    raw["a"].encoding, raw["a"].attrs = {}, raw["a"].attrs | attributes
    model = Identity()
    model.sensors = {"s": Facts(("a",), **facts)}
    found = mapped(tmp_path, raw, "s=a", model=model, options=PredictOptions(any_radiometry=True), version=version)
    assert model.batches[0]["s"]["values"][0, 0, 0, 0, 0] == expected
    unknown = joined(found) == NO_DATA
    assert unknown[3:5, 6:9].all() == bool(fills) and unknown.sum() == 6 * bool(fills)


def test_the_same_scene_as_files_as_items_and_as_a_cube(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 50, (2, 3, 24, 40)).astype(np.int16)
    values[rng.random(values.shape) < 0.1] = -9
    tags = {"scales": (0.5,) * 3, "offsets": (-3.0,) * 3, "nodata": -9}
    items, days = [], [date.replace("-", "") for date in DATES]
    for date, day, frame in zip(DATES, days, values):
        put(tmp_path / "files" / f"x_{day}.tif", frame, **tags)
        assets = {}
        for band, pixels in zip("abc", frame):
            put(tmp_path / "items" / day / f"{band}.tif", pixels, descriptions=None)
            assets[band] = {"href": f"{day}/{band}.tif", "raster:bands": [{"scale": 0.5, "offset": -3, "nodata": -9}]}
        items.append(item(day, date, assets=assets))
    save(tmp_path / "items" / "items.json", *items)
    cube = dataset(values, ("time", "band", "y", "x"), band=list("abc"), attributes={"scale_factor": 0.5, "add_offset": -3.0, "_FillValue": np.int16(-9)})
    cube.to_zarr(tmp_path / "cube.zarr")
    descriptions = {
        "files": {"series": {"s": "files"}},
        "items": {"stac": {"path": "items/items.json", "sensors": {"s": "c"}}},
        "cube": {"cube": {"path": "cube.zarr", "sensors": {"s": "v"}}},
    }
    expected = None
    for name, description in descriptions.items():
        (tmp_path / "region.json").write_text(json.dumps(description))
        model = three()
        model.trained.statistics["s"] = {"mean": [20.0] * 3, "std": [15.0] * 3}
        folder = make_map(model, Region.from_json(tmp_path / "region.json"), tmp_path / f"out {name}", PredictOptions(block=16, overlap=0.5))
        found = {product: joined(folder, product).tobytes() for product in ("class", "confidence", "used", "dates")}
        expected = expected or found
        assert found == expected, name
        assert len(set(found["class"])) >= 5


def test_clouds_of_a_variable(tmp_path):
    cube = dataset(series(CLASSES, 0 * CLASSES + 4), name="a")
    cube["SCL"] = (("time", "y", "x"), np.stack([np.full((24, 40), 4), np.full((24, 40), 8)]).astype(np.uint8))
    assert (joined(mapped(tmp_path, cube, "s=a")) == 4).any()
    folder = mapped(tmp_path, cube, "s=a", scl={"s": "SCL"})
    assert (joined(folder) == CLASSES).all() and (joined(folder, "dates") == 1).all()
    with pytest.raises(UserError, match="a: expected|expected a: one band of integers"):
        mapped(tmp_path, cube, "s=a", scl={"s": "a"})


def test_an_image(tmp_path):
    model = Identity(spec(kind="image"))
    assert (joined(mapped(tmp_path, dataset(CLASSES.astype(np.uint8), ("y", "x"), name="a"), "s=a", model=model)) == CLASSES).all()
    with pytest.raises(UserError, match="one date, as s is an image, found 2 along time"):
        mapped(tmp_path, dataset(series(CLASSES, CLASSES), name="a"), "s=a", model=model)


def test_reference_systems(tmp_path):
    plain = dataset(series(CLASSES, CLASSES), name="a").drop_vars("spatial_ref")
    with pytest.raises(UserError, match="expected a coordinate reference system of a: a grid mapping with crs_wkt, .*found none"):
        mapped(tmp_path, plain, "s=a")
    for attributes in ({"proj:code": "EPSG:32631"}, {"proj:wkt2": CRS.from_epsg(32631).to_wkt("WKT2")}):
        assert (joined(mapped(tmp_path, plain.assign_attrs(attributes), "s=a")) == CLASSES).all()
    both = dataset(series(CLASSES, CLASSES), name="a").assign_attrs({"proj:code": "EPSG:32632"})
    with pytest.raises(UserError, match="expected one coordinate reference system of a, found EPSG:32631 in crs_wkt of spatial_ref, EPSG:32632 in proj:code"):
        mapped(tmp_path, both, "s=a")
    for text in ("/etc/passwd", "https://example.org/crs", "EPSG:0"):
        with pytest.raises(UserError, match="a reference system as WKT, or as a code"):
            mapped(tmp_path, plain.assign_attrs({"proj:code": text}), "s=a")


def test_only_the_chunks_of_a_window_are_read(tmp_path):
    dataset(series(CLASSES, CLASSES), name="a").to_zarr(tmp_path / "cube.zarr", encoding={"a": {"chunks": (1, 8, 8)}})
    sensor = region(tmp_path / "cube.zarr", "s=a").sensors[0].bind(spec(), ("a",), Scaling(), PredictOptions())
    for chunk in (tmp_path / "cube.zarr" / "a" / "c").rglob("*"):
        if chunk.is_file() and chunk.relative_to(tmp_path / "cube.zarr" / "a" / "c").as_posix() != "1/0/1":
            chunk.write_bytes(b"broken")
    values, known = sensor.frames[1].pieces[0].raster.read((3, 9, 2, 4))
    assert (values[0] == CLASSES[3:5, 9:13]).all() and known.all()
    with pytest.raises(UserError, match="cube.zarr: expected a: values that can be read"):
        sensor.frames[0].pieces[0].raster.read((3, 9, 2, 4))


def test_a_changed_chunk_makes_another_map(tmp_path):
    cube, path = dataset(series(CLASSES, CLASSES), name="a"), tmp_path / "cube.zarr"
    cube["other"] = cube["a"] * 0
    cube.to_zarr(path)
    make_map(Identity(), region(path, "s=a"), tmp_path / "out")
    next(file for file in (path / "other" / "c").rglob("*") if file.is_file()).write_bytes(b"x")
    make_map(Identity(), region(path, "s=a"), tmp_path / "out")
    chunk = next(file for file in (path / "a" / "c").rglob("*") if file.is_file())
    chunk.write_bytes(chunk.read_bytes())
    with pytest.raises(UserError, match="another"):
        make_map(Identity(), region(path, "s=a"), tmp_path / "out")


def test_what_is_refused(tmp_path):
    good = dataset(series(CLASSES, CLASSES), name="a")
    x = good.x.values.copy()
    x[7] += 3
    bands = dataset(np.ones((2, 2, 24, 40)), ("time", "band", "y", "x"), name="a")
    for cube, texts, message in [
        (good, ("s=b",), "expected a variable b, found a"),
        (good.assign_coords(x=x), (), "evenly spaced coordinates along x, found steps from 7 to 13"),
        (good.drop_vars("y"), (), "coordinates along y, of the centers of pixels, found none"),
        (good.isel(x=slice(None, None, -1)), (), "x from west to east"),
        (good.isel(x=slice(0, 1)), (), "at least two coordinates along x, found 1"),
        (good.drop_vars("time"), (), "dates as coordinates along time, found none"),
        (good.assign_coords(time=[1, 2]), (), r"dates \(datetime64\) along time, found values of type int64"),
        (good.assign_coords(time=np.array(["2021-01-05", "NaT"], "datetime64[ns]")), (), "plausible dates along time, found NaT"),
        (good.isel(time=0), (), "a dimension of time with at least one date"),
        (good.rename(x="east"), (), "the dimensions time, y and x and at most one of bands, found time, y, east"),
        (bands, (), "names of the bands as coordinates along the dimension band, found none"),
        (bands.assign_coords(band=["a", "A"]), (), "each band along band once"),
        (bands.assign_coords(band=["u", "v"]), (), r"expected the bands a, .* found u, v \(without a\); name the variables with --cube_sensor s="),
        (bands.expand_dims(z=2), (), "found z, time, band, y, x"),
        (good.assign(b=good.a.astype(int)), ("s=a,b",), "variables with the same dimensions and type of values"),
        (good.assign(a=good.a.astype(complex)), (), "real numbers, found complex128"),
        (good.assign(a=good.a.assign_attrs(scale_factor=0.0)), (), "a scale other than 0"),
        (good.assign(a=good.a.assign_attrs(_Unsigned="true")), (), "the attribute _Unsigned"),
    ]:
        with pytest.raises(UserError, match=message) as raised:
            mapped(tmp_path, cube, *(texts or ("s=a",)))
        assert ".zarr" in str(raised.value)
    for path, texts, message in [
        (tmp_path / "none.zarr", ("s=a",), "expected a data cube: a Zarr folder, found no such folder"),
        ("s3://bucket/cube.zarr", ("s=a",), "--cube: expected a path of this machine, found s3://bucket/cube.zarr; copy it to this machine first"),
        (tmp_path / "cube0.zarr", (), "expected --cube_sensor NAME=VARIABLE for each sensor, found none; .* has a"),
        (tmp_path / "cube0.zarr", ("s=",), "expected NAME=VARIABLE"),
        (tmp_path / "cube0.zarr", ("s=a,a",), "each once"),
    ]:
        with pytest.raises(UserError, match=message):
            parse_cube(path, texts, {})
    (tmp_path / "plain").mkdir()
    with pytest.raises(UserError, match="plain: expected a data cube: a Zarr folder that xarray can open"):
        make_map(Identity(), region(tmp_path / "plain"), tmp_path / "out")


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "cube.zarr"
    dataset(series(CLASSES, CLASSES), name="a").to_zarr(path, zarr_format=2, consolidated=False)
    metadata = json.loads((path / "x" / ".zarray").read_text())
    (path / "x" / ".zarray").write_text(json.dumps(metadata | {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]}))
    with pytest.raises(UserError, match="x/.zarray: expected codecs that only decode, found 'pickle'"):
        make_map(Identity(), region(path, "s=a"), tmp_path / "out")


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "cube.zarr").mkdir()
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(UserError, match=r'found no zarr; install them with pip install "omnisat-jax\[cube\]"'):
        make_map(Identity(), region(tmp_path / "cube.zarr"), tmp_path / "out")
