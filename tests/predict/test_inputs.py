"""What files may be like: bands, units, dates, clouds, mosaics; and what is refused."""

import json
import pathlib

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.warp import transform

from omnisat_jax.errors import UserError
from omnisat_jax.predict.folder import NO_DATA
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.placing import STRETCHED, ground_metre
from omnisat_jax.predict.region import Region
from omnisat_jax.predict.run import make_map
from tests.predict.region import LEFT, TOP, Facts, Identity, put, scene, spec
from tests.predict.test_run import joined, region

CLASSES = scene()


def mapped(here, model=None, options=None, **more):
    """The classes of a map of the series in here/s."""
    number = len(list(here.glob("out*")))
    return make_map(model or Identity(), region(f"s={here / 's'}", **more), here / f"out{number}", options)


def seen(here, model, options=None, text=None):
    """The values of the first batch that a model sees: (T,S,S,C) of the first window, and its dates."""
    number = len(list(here.glob("out*")))
    make_map(model, region(text or f"s={here / 's'}"), here / f"out{number}", options)
    entry = model.batches[0]["s"]
    count = int(entry["valid"][0].sum())
    return entry["values"][0, :count], entry["dates"][0, :count]


def three(*bands):
    model = Identity(spec(channels=3), bands=bands or ("a", "b", "c"))
    model.trained.statistics["s"] = {"mean": [5.0] * 3, "std": [5.0] * 3}
    return model


def test_bands_are_found_by_their_names(tmp_path):
    bands = np.arange(5)[:, None, None] * np.ones((24, 40), np.float32)
    put(tmp_path / "s" / "x_20210105.tif", bands, descriptions=("c", "zz", "B", "a", "qa"))
    values, _ = seen(tmp_path, three())
    assert values[0, 0, 0].tolist() == [3, 2, 0]
    folder = mapped(tmp_path, three())
    assert any("not used: zz, qa" in text for text in folder.info.remarks)


def test_bands_are_never_guessed(tmp_path):
    bands = np.arange(3)[:, None, None] * np.ones((24, 40), np.float32)
    put(tmp_path / "s" / "x_20210105.tif", bands, descriptions=None)
    with pytest.raises(UserError, match="expected descriptions of its bands, or names as in s=PATH:BAND,BAND"):
        mapped(tmp_path, three())
    values, _ = seen(tmp_path, three(), text=f"s={tmp_path / 's'}:c,a,b")
    assert values[0, 0, 0].tolist() == [1, 2, 0]
    with pytest.raises(UserError, match=r"expected the bands a, b, c, .*found x, y, z \(without a, b, c\)"):
        seen(tmp_path, three(), text=f"s={tmp_path / 's'}:x,y,z")


def test_a_missing_band_is_named(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", np.ones((2, 24, 40), np.float32))
    with pytest.raises(UserError, match=r"found a, b \(without c\); the model needs all of them"):
        mapped(tmp_path, three())


@pytest.mark.parametrize(
    "dtype, tags, facts, expected",
    [
        (np.float32, {}, {}, 4),
        (np.uint16, {}, {}, 4),
        (np.uint16, {"scales": (0.5,), "offsets": (-1.0,)}, {}, 2),  # stored integers, the offset in their unit
        (np.uint16, {"scales": (0.5,), "offsets": (1.0,)}, {"scale": (0.25,), "offset": (0.0,)}, 12),
        (np.float32, {}, {"scale": (2.0,), "offset": (-2.0,)}, 3),  # physical values
        (np.uint16, {}, {"scale": (2.0,), "offset": (-2.0,)}, 4),  # nothing declared: the unit of training
    ],
)
def test_scale_and_offset(tmp_path, dtype, tags, facts, expected):
    put(tmp_path / "s" / "x_20210105.tif", np.full((24, 40), 4, dtype), **tags)
    model = Identity()
    model.sensors = {"s": Facts(("a",), **facts)}
    values, _ = seen(tmp_path, model, PredictOptions(any_radiometry=True))
    assert values[0, 0, 0, 0] == expected


def test_the_offset_of_sentinel_2(tmp_path):
    put(tmp_path / "s" / "S2A_MSIL2A_20210105T105421_N0500_R051_T31UFS.tif", np.full((24, 40), 1004, np.uint16))
    values, _ = seen(tmp_path, Identity())
    assert (values == 4).all()
    put(tmp_path / "t" / "x_20210105.tif", np.full((24, 40), 1004, np.uint16))
    options = PredictOptions(s2_offsets={"s": "subtract"})
    values, _ = seen(tmp_path, Identity(), options, f"s={tmp_path / 't'}")
    assert (values == 4).all()


@pytest.mark.parametrize(
    ("files", "option", "text"),
    [
        ({"S2A_MSIL2A_20210105_N0500": 1004}, "", "the file, as the processing baseline of these products says"),
        ({"x_20210105": 1004, "x_20210110": 1004}, "subtract", "all 2 files, as --s2_offset s=subtract says"),
        ({"S2A_MSIL2A_20210105_N0500": 1004, "S2A_MSIL2A_20210110_N0301": 4}, "", "1 of 2 files, as the processing baseline of these products says"),
    ],
)
def test_what_was_done_about_the_offset_is_a_sentence(tmp_path, files, option, text):
    for name, value in files.items():
        put(tmp_path / "s" / f"{name}.tif", np.full((24, 40), value, np.uint16))
    remarks = mapped(tmp_path, options=PredictOptions(s2_offsets={"s": option} if option else {}, any_radiometry=True)).info.remarks
    assert f"s: 1,000 was subtracted from the values of {text}: the offset of Sentinel-2 products of baseline 04.00 and later" in remarks


@pytest.mark.parametrize("conversion, stored, expected", [("linear_to_db", 100.0, 20), ("db_to_linear", 10.0, 10), (0.5, 6.0, 3)])
def test_conversions(tmp_path, conversion, stored, expected):
    put(tmp_path / "s" / "x_20210105.tif", np.full((24, 40), stored, np.float32))
    values, _ = seen(tmp_path, Identity(), PredictOptions(conversions={"s": conversion}, any_radiometry=True))
    assert values[0, 0, 0, 0] == pytest.approx(expected)


def test_power_that_is_not_positive_has_no_decibels(tmp_path):
    values = np.full((24, 40), 100.0, np.float32)
    values[3, 4], values[5, 6] = 0, -1
    put(tmp_path / "s" / "x_20210105.tif", values)
    found = joined(mapped(tmp_path, options=PredictOptions(conversions={"s": "linear_to_db"}, any_radiometry=True)))
    assert {(3, 4), (5, 6)} == {tuple(place) for place in np.argwhere(found == NO_DATA).tolist()}


@pytest.mark.parametrize("how", ["nodata", "nan", "mask", "alpha"])
def test_unknown_pixels_as_files_declare_them(tmp_path, how):
    values, unknown = CLASSES.astype(np.float32), np.zeros((24, 40), bool)
    unknown[2:5, 7:30] = True
    if how == "alpha":
        rgba = np.stack([CLASSES.astype(np.uint8)] * 3 + [np.where(unknown, 0, 255).astype(np.uint8)])
        put(tmp_path / "s" / "x_20210105.tif", rgba, photometric="RGB", alpha="YES", descriptions=("a", "b", "c", ""))
    else:
        values[unknown] = {"nodata": -9, "nan": np.nan, "mask": 3}[how]
        put(tmp_path / "s" / "x_20210105.tif", values, nodata=-9 if how == "nodata" else None, mask=(~unknown * 255).astype(np.uint8) if how == "mask" else None)
    found = joined(mapped(tmp_path))
    assert ((found == NO_DATA) == unknown).all() and (found[~unknown] == CLASSES[~unknown]).all()


def test_clouds_of_the_scene_classification(tmp_path):
    clear, cloudy = CLASSES.astype(np.float32), np.full((24, 40), 4.0, np.float32)
    put(tmp_path / "s" / "x_20210105.tif", cloudy)
    put(tmp_path / "s" / "x_20210205.tif", np.where(np.arange(40) < 10, clear, 0).astype(np.float32))
    put(tmp_path / "s" / "x_20210305.tif", clear)
    scl = np.full((12, 20), 4, np.uint8)
    scl[:, 10:] = 9
    put(tmp_path / "scl" / "SCL_20210105.tif", np.full((12, 20), 8, np.uint8), pixel=20.0)
    put(tmp_path / "scl" / "SCL_20210205.tif", scl, pixel=20.0)
    folder = mapped(tmp_path, scl={"s": str(tmp_path / "scl")})
    assert (joined(folder) == CLASSES).all()
    dates = joined(folder, "dates")[0]
    assert (dates[:, :20] == 2).all() and (dates[:, 20:] == 1).all()


def test_dates_count_from_day_0_of_the_region(tmp_path):
    for name in ("20210105", "2021-03-06", "20210207"):
        put(tmp_path / "s" / f"x_{name}.tif", CLASSES.astype(np.float32))
    _, days = seen(tmp_path, Identity())
    assert days.tolist() == [4, 37, 64]


def test_long_series_are_reduced_to_known_dates(tmp_path):
    for day in range(1, 11):
        values = CLASSES.astype(np.float32) if day != 5 else np.full((24, 40), np.nan, np.float32)
        put(tmp_path / "s" / f"x_202101{day:02d}.tif", values)
    _, days = seen(tmp_path, Identity(spec(dates=3)))
    assert days.tolist() == [0, 5, 9]


def test_another_season_is_refused(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", CLASSES.astype(np.float32))
    model = Identity()
    model.sensors = {"s": Facts(("a",), first_day=17_800, last_day=18_100)}  # 2018-09-26 to 2019-07-23
    model.trained.config.data.origin = "2018-09-01"
    with pytest.raises(UserError, match="--origin"):
        mapped(tmp_path, model)
    assert mapped(tmp_path, model, PredictOptions(origin="2020-09-01")).info.settings["day_zero"] == "2020-09-01"


@pytest.mark.parametrize("origin, years, several", [("year", 4, True), ("season", 4, True), ("year", 1, False), ("2017-01-01", 5, False)])
def test_training_on_several_seasons_does_not_tell_the_season_of_a_tile(tmp_path, origin, years, several):
    """Tiles of one year each, from 2017 on: their first and last day do not bound the days after day 0 of a tile."""
    for year in (2020, 2021, 2022) if several else (2021,):
        put(tmp_path / "s" / f"x_{year}0205.tif", CLASSES.astype(np.float32))
    model = Identity()
    model.sensors = {"s": Facts(("a",), first_day=17_176, last_day=17_176 + 365 * years)}  # from 2017-01-10
    model.trained.config.data.origin = origin
    found = [text for text in mapped(tmp_path, model).info.remarks if "several seasons" in text]
    assert len(found) == several and all("2017-01-10 to 2021-01-09" in text for text in found)


def damage(path: pathlib.Path, how: str):
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "no tiff": b"x" * 100, "empty": b""}[how])


@pytest.mark.parametrize("how", ["truncated", "no tiff", "empty"])
def test_a_broken_file_is_named_or_left_out(tmp_path, how):
    for month in (1, 2):
        put(tmp_path / "s" / f"x_20210{month}05.tif", np.random.default_rng(0).normal(2, 0.1, (240, 400)).astype(np.float32))
    damage(tmp_path / "s" / "x_20210105.tif", how)
    with pytest.raises(UserError, match="x_20210105.tif") as raised:
        mapped(tmp_path)
    assert "expected" in str(raised.value) and "found" in str(raised.value)
    folder = mapped(tmp_path, options=PredictOptions(on_bad="mask"), on_bad="mask")
    assert (joined(folder, "dates") == 1).all()
    assert any("left out" in text and "x_20210105.tif" in text for text in folder.info.remarks)
    damage(tmp_path / "s" / "x_20210205.tif", how)
    with pytest.raises(UserError, match="x_20210[12]05.tif"):
        mapped(tmp_path, options=PredictOptions(on_bad="mask"), on_bad="mask")


def test_what_else_is_refused(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", CLASSES.astype(np.float32))
    put(tmp_path / "im.tif", np.ones((3, 24, 40), np.uint8))
    model = Identity(spec(), spec("im", "image", 3), bands=("a", "b", "c"))
    there = [f"s={tmp_path / 's'}"]
    for arguments, options, message in [
        (dict(images=[f"imm={tmp_path / 'im.tif'}"]), None, "unknown sensor 'imm'.* Did you mean"),
        ({}, PredictOptions(modalities=("im",)), "that are given"),
        ({}, PredictOptions(conversions={"s2": 2.0}), "unknown sensor 's2'"),
        (dict(scl={"im": "x"}), None, "--scl"),
        (dict(images=[f"s={tmp_path / 'im.tif'}"]), None, "more than once"),
        (dict(images=[f"im={tmp_path / 'none.tif'}"]), None, "none.tif"),
        ({}, PredictOptions(crs="EPSG:4326"), "meters"),
        ({}, PredictOptions(crs="nonsense"), "--crs"),
    ]:
        with pytest.raises(UserError, match=message):
            make_map(model, region(*there, **arguments), tmp_path / "out", options)
    with pytest.raises(UserError, match="expected --image"):
        make_map(model, region(f"im={tmp_path / 's'}"), tmp_path / "out")
    with pytest.raises(UserError, match="at least one"):
        region()
    assert not (tmp_path / "out").exists()
    put(tmp_path / "t" / "x_20210105.tif", np.full((20, 20), np.nan, np.float32))
    with pytest.raises(UserError, match="expected a known value of s in the area, found none"):
        make_map(model, region(f"s={tmp_path / 't'}"), tmp_path / "out")


def test_geographic_rasters_are_warped_to_utm(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", np.full((60, 60), 2, np.float32), pixel=0.0001, left=4.45, top=51.45, crs="EPSG:4326")
    folder = mapped(tmp_path)
    assert "UTM zone 31N" in folder.info.grid.crs and any("warped from EPSG:4326" in text for text in folder.info.remarks)
    found = joined(folder)
    assert (found == 2).sum() > 0.85 * found.size and folder.info.grid.left % 20 == 0


def test_a_meter_of_a_map_is_one_on_the_ground(tmp_path):
    """Web Mercator stretches: its pixels of 10 m are 6.3 m wide at 51 degrees, and areas would be 2.5 times too large."""
    put(tmp_path / "s" / "x_20210105.tif", np.full((60, 60), 2, np.float32), left=500_000, top=6_621_000, crs="EPSG:3857")
    folder = mapped(tmp_path)
    assert "UTM zone 31N" in folder.info.grid.crs and any("warped from EPSG:3857" in text for text in folder.info.remarks)
    assert folder.info.grid.width * 10 == pytest.approx(60 * 10 * np.cos(np.radians(51)), abs=25)
    with pytest.raises(UserError, match="--crs: expected a system whose meters are meters on the ground, such as EPSG:32631, found EPSG:3857, in which a meter is 0.63 m"):
        make_map(Identity(), region(f"s={tmp_path / 's'}"), tmp_path / "other", PredictOptions(crs="EPSG:3857"))


@pytest.mark.parametrize(
    ("code", "place", "length"),
    [(32631, (4.5, 51.0), 0.9998), (2154, (2.0, 47.0), 0.999), (3035, (-8.0, 38.0), 1.0), (3857, (4.5, 60.0), 0.5), (3857, (180.0, 0.0), 1.0)],
)
def test_how_long_a_meter_is_on_the_ground(code, place, length):
    (x,), (y,) = transform(CRS.from_epsg(4326), CRS.from_epsg(code), [place[0]], [place[1]])[:2]
    found = ground_metre(CRS.from_epsg(code), x, y)
    assert found == pytest.approx(length, rel=0.02) and (abs(found - 1) < STRETCHED) == (length > 0.9)


def test_files_that_run_northwards(tmp_path):
    from tests.region import write

    south_up = type(from_origin(LEFT, TOP, 10, 10))(10, 0, LEFT, 0, 10, TOP - 240)
    write(tmp_path / "s" / "x_20210105.tif", CLASSES[::-1][None].astype(np.float32), transform=south_up, crs="EPSG:32631", descriptions=("a",))
    assert (joined(mapped(tmp_path)) == CLASSES).all()


def test_a_region_file(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", CLASSES.astype(np.float32), descriptions=None)
    put(tmp_path / "im.tif", np.full((24, 40), 2, np.float32))
    model = Identity(spec(), spec("im", "image"))
    description = {"series": {"s": {"path": "s", "bands": ["a"]}}, "image": {"im": "im.tif"}}
    (tmp_path / "region.json").write_text(json.dumps(description))
    found = make_map(model, Region.from_json(tmp_path / "region.json"), tmp_path / "out")
    assert (joined(found) == CLASSES).all() and (joined(found, "used") == 3).all()
    for change, message in [({"serie": {}}, "keys series, image, stac, cube and aoi"), ({"image": {"im": {"file": "im.tif"}}}, "path, bands"), ({"aoi": "a.json"}, "a.json")]:
        (tmp_path / "region.json").write_text(json.dumps(description | change))
        with pytest.raises(UserError, match=message):
            Region.from_json(tmp_path / "region.json")


def test_one_file_without_names_among_others_is_refused(tmp_path):
    bands = np.arange(3)[:, None, None] * np.ones((24, 40), np.float32)
    put(tmp_path / "s" / "x_20210105.tif", bands)
    put(tmp_path / "s" / "x_20210205.tif", bands, descriptions=None)
    with pytest.raises(UserError, match="x_20210205.tif: expected descriptions of its bands"):
        mapped(tmp_path, three())


def test_a_file_far_away_is_remarked_on(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", CLASSES.astype(np.float32))
    put(tmp_path / "s" / "y_20210105.tif", CLASSES.astype(np.float32))
    put(tmp_path / "s" / "z_20210105.tif", CLASSES.astype(np.float32), left=LEFT + 4000)
    remarks = mapped(tmp_path).info.remarks
    assert any("cover at most" in text and "z_20210105.tif" in text for text in remarks), remarks


def test_a_file_on_another_continent_is_refused_unless_an_area_is_named(tmp_path):
    """A map of everything between them would be huge."""
    put(tmp_path / "s" / "x_20210105.tif", CLASSES.astype(np.float32))
    put(tmp_path / "s" / "y_20210105.tif", CLASSES.astype(np.float32), top=TOP - 4_000_000)
    put(tmp_path / "s" / "z_20210105.tif", CLASSES.astype(np.float32))
    with pytest.raises(UserError, match=r"of \d+ x [34],\d+ km; check the georeference of .*y_20210105.tif, .* or give an --aoi"):
        mapped(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({"type": "Polygon", "coordinates": [[[4.4, 51.4], [4.5, 51.4], [4.5, 51.5], [4.4, 51.5], [4.4, 51.4]]]}))
    assert mapped(tmp_path, aoi=tmp_path / "a.json").info.grid.height < 1000


def test_an_area_in_metres_is_no_geojson(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", CLASSES.astype(np.float32))
    (tmp_path / "a.json").write_text(json.dumps({"type": "Polygon", "coordinates": [[[LEFT, TOP], [LEFT + 100, TOP], [LEFT, TOP - 100], [LEFT, TOP]]]}))
    with pytest.raises(UserError, match="expected longitude and latitude in degrees, as in GeoJSON, found coordinates up to"):
        mapped(tmp_path, aoi=tmp_path / "a.json")


def test_an_area_with_latitude_first_is_recognised(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", CLASSES.astype(np.float32))
    (x,), (y,) = transform("EPSG:32631", "EPSG:4326", [LEFT + 200], [TOP - 100])[:2]
    ring = np.array([[y, x], [y + 0.001, x], [y + 0.001, x + 0.001], [y, x]])
    for name, points, hint in (("exchanged", ring, True), ("elsewhere", ring + 5, False), ("beyond", ring * [1, 0] + [0, 120], True), ("right", ring[:, ::-1], None)):
        path = tmp_path / f"{name}.geojson"
        path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": [[points.tolist()]]}))
        if hint is None:
            assert (joined(mapped(tmp_path, aoi=path)) != NO_DATA).any()
            continue
        with pytest.raises(UserError, match=f"{name}.geojson") as raised:
            mapped(tmp_path, aoi=path)
        assert ("exchange the two numbers of every point" in str(raised.value)) == hint, name
    geopandas = pytest.importorskip("geopandas")
    shape = geopandas.GeoSeries.from_wkt([f"POLYGON(({', '.join(f'{a} {b}' for a, b in ring)}))"], crs="EPSG:4326")
    shape.to_file(tmp_path / "a.gpkg")
    with pytest.raises(UserError, match="a.gpkg: expected an area with imagery.*exchange the two numbers"):
        mapped(tmp_path, aoi=tmp_path / "a.gpkg")
