"""Maps from STAC items: which items, assets and bands are used, what items state about values, and what is refused."""

import json
import pathlib

import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.predict.folder import NO_DATA
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.region import Region
from omnisat_jax.predict.run import make_map
from omnisat_jax.predict.stac import parse_stac
from omnisat_jax.predict.stac_items import read_items
from tests.predict.region import Facts, Identity, put, scene, spec
from tests.predict.stac import banded, item, save
from tests.predict.test_inputs import three
from tests.predict.test_run import joined

CLASSES = scene()
FLAT = np.full((24, 40), 4, np.uint16)


def region(path, *texts, scl=None, on_bad="raise"):
    return Region.from_arguments([], [], {}, on_bad=on_bad, others=parse_stac(path, texts or ("s=c",), scl or {}))


def mapped(here, model=None, options=None, **more):
    number = len(list(here.glob("out*")))
    return make_map(model or Identity(), region(here / "items.json", **more), here / f"out{number}", options)


def first(here, options=None, model=None, **more):
    """The value of the first pixel on the first date, one per band, and the remarks."""
    model = model or Identity()
    folder = mapped(here, model, options or PredictOptions(any_radiometry=True), **more)
    return model.batches[0]["s"]["values"][0, 0, 0, 0].tolist(), " ".join(folder.info.remarks)


def test_a_file_per_band_at_its_own_resolution(tmp_path):
    coarse = np.arange(240, dtype=np.float32).reshape(12, 20)
    save(tmp_path / "items.json", banded(tmp_path, [CLASSES.astype(np.float32)], "x"))
    entry = banded(tmp_path, [CLASSES.astype(np.float32), CLASSES.astype(np.float32)], "x")
    put(tmp_path / "x" / "c.tif", coarse, pixel=20.0, descriptions=None)
    entry["assets"]["C"] = {"href": (tmp_path / "x" / "c.tif").as_uri()}  # keys in any case, and absolute addresses of files
    save(tmp_path / "items.json", entry)
    model = three()
    folder = mapped(tmp_path, model, PredictOptions(any_radiometry=True))
    assert (joined(folder) == CLASSES).all()
    values = model.batches[0]["s"]["values"][0, 0]
    assert values[3, 3, 2] == pytest.approx(coarse[1, 1] + 0.25 + 5, abs=1)  # between the pixels of 20 m
    assert any("from pixels of 20 m to 10 m" in text for text in folder.info.remarks)
    assert {pathlib.Path(path).name for path in folder.info.sensors[0].files} == {"a.tif", "b.tif", "c.tif"}


@pytest.mark.parametrize(
    "described, expected",
    [
        ({"bands": [{"name": "c"}, {"name": "A"}, {"name": "zz"}, {"name": "b"}]}, [1, 3, 0]),
        ({"eo:bands": [{"name": "x", "common_name": "c"}, {"name": "b"}, {"name": "a"}, {"name": "y"}]}, [2, 1, 0]),
        ({"bands": [{"name": "c", "eo:common_name": "b"}, {"name": "b"}, {"name": "a"}, {}]}, [2, 1, 0]),  # names before common names
    ],
)
def test_bands_of_one_file_are_found_by_their_names(tmp_path, described, expected):
    put(tmp_path / "x.tif", np.arange(4)[:, None, None] * np.ones((24, 40), np.float32), descriptions=None)
    save(tmp_path / "items.json", item(assets={"data": {"href": "x.tif"} | described}))
    assert first(tmp_path, model=three())[0] == expected


def test_pictures_of_a_band_are_not_its_values(tmp_path):
    put(tmp_path / "x.tif", FLAT, descriptions=None)
    put(tmp_path / "picture.tif", np.ones((3, 24, 40), np.uint8), descriptions=None)
    picture = {"href": "picture.tif", "roles": ["visual"], "eo:bands": [{"name": "b"}, {"name": "a"}, {"name": "c"}]}
    jp2 = {"href": "x.jp2", "eo:bands": [{"name": "a"}]}
    save(tmp_path / "items.json", item(assets={"visual": picture, "jp2": jp2, "data": {"href": "x.tif", "eo:bands": [{"name": "a"}]}}))
    values, remarks = first(tmp_path)
    assert values == [4] and "not read, as other assets hold the same bands as measurements: visual, jp2" in remarks


def test_items_of_one_date_are_a_mosaic_and_dates_are_those_of_utc(tmp_path):
    values = CLASSES.astype(np.float32)
    west = banded(tmp_path, [values[:, :20]], "west")
    east = banded(tmp_path, [values[:, 20:]], "east", left=600_200)
    later = banded(tmp_path, [values * 0], "later", datetime=None, start_datetime="2021-02-05T23:30:00-01:00", end_datetime="2021-03-01T00:00:00Z")
    (tmp_path / "more").mkdir()
    for name, entry in (("one", west), ("two", east), ("three", later)):
        (tmp_path / f"{name}.json").write_text(json.dumps(entry))
    (tmp_path / "x.json").write_text('{"tileinfo": 1}')
    model = Identity()
    folder = make_map(model, region(tmp_path), tmp_path / "out")
    assert (joined(folder) == CLASSES).all()
    assert folder.info.sensors[0].dates == ("2021-01-05", "2021-02-06")
    assert any("no STAC items: 1 JSON files" in text for text in folder.info.remarks)


def test_collections_and_properties_choose_the_items(tmp_path):
    up = banded(tmp_path, [FLAT], "up", **{"sat:orbit_state": "ascending", "n": 3})
    down = banded(tmp_path, [FLAT - 1], "down", **{"sat:orbit_state": "descending", "n": 4})
    other = banded(tmp_path, [FLAT - 2], "other", collection="d")
    path = save(tmp_path / "items.json", up, down, other)
    for text, expected in (("s=c,sat:orbit_state=ascending", 4), ("s=c,n=4", 3), ("s=d", 2)):
        model = Identity()
        make_map(model, region(path, text), tmp_path / f"out {text[-9:]}", PredictOptions(any_radiometry=True))
        assert (model.batches[0]["s"]["values"][0, 0] == expected).all()
    for texts, message in [
        ((), r"expected --stac_sensor NAME=COLLECTION for each sensor, found none; .* has c \(2 items\), d \(1 item\)"),
        (("s=e",), r"expected items of the collection e, found c \(2 items\), d \(1 item\)"),
        (("s=c,sat:orbit_state=up",), "found sat:orbit_state of ascending, descending"),
        (("s",), "expected NAME=COLLECTION"),
        (("s=c,n",), "expected PROPERTY=VALUE after the collection"),
        (("tiles=c",), "tiles"),
    ]:
        with pytest.raises(UserError, match=message):
            parse_stac(path, texts, {})


@pytest.mark.parametrize(
    "asset, tags, facts, expected",
    [
        ({}, {}, {}, 4),
        ({"raster:bands": [{"scale": 0.5, "offset": -1}]}, {}, {}, 2),  # stored integers, the offset in their unit
        ({"raster:bands": [{"scale": 0.5, "offset": 1}]}, {}, {"scale": (0.25,), "offset": (0.0,)}, 12),
        ({"bands": [{"name": "q", "raster:scale": 0.5, "raster:offset": 1}]}, {}, {"scale": (0.25,), "offset": (0.0,)}, 12),
        ({"raster:scale": 0.5, "raster:offset": 1}, {}, {"scale": (0.25,), "offset": (0.0,)}, 12),
        ({}, {"scales": (0.5,), "offsets": (1.0,)}, {"scale": (0.25,), "offset": (0.0,)}, 12),
        ({"raster:bands": [{"scale": 0.5, "offset": 1}]}, {"scales": (0.5,), "offsets": (1.0,)}, {"scale": (0.25,), "offset": (0.0,)}, 12),
    ],
)
def test_scale_and_offset(tmp_path, asset, tags, facts, expected):
    save(tmp_path / "items.json", banded(tmp_path, [FLAT], asset=asset))
    put(tmp_path / "x" / "a.tif", FLAT, **tags)
    model = Identity()
    model.sensors = {"s": Facts(("a",), **facts)}
    assert first(tmp_path, model=model)[0] == [expected]


def test_scales_that_differ_are_refused(tmp_path):
    save(tmp_path / "items.json", banded(tmp_path, [FLAT], asset={"raster:bands": [{"scale": 0.5}]}))
    put(tmp_path / "x" / "a.tif", FLAT, scales=(0.25,), offsets=(0.0,))
    with pytest.raises(UserError, match="expected the scale and offset of the file in asset a, 0.25 and 0, found 0.5 and 0"):
        mapped(tmp_path)


def test_no_data_that_only_the_item_states(tmp_path):
    values = CLASSES.astype(np.int16)
    values[3:5] = -7
    save(tmp_path / "items.json", banded(tmp_path, [values], asset={"raster:bands": [{"nodata": -7}]}))
    found = joined(mapped(tmp_path))
    assert ((found == NO_DATA) == (values == -7)).all()


ESA = {"platform": "sentinel-2a"}
OFFSET = {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}


@pytest.mark.parametrize(
    "properties, asset, option, expected",
    [
        (ESA | {"s2:processing_baseline": "05.00"}, {}, "", 4),
        (ESA | {"processing:version": "05.11"}, {}, "", 4),
        ({"s2:processing_baseline": "04.00"}, {}, "", 4),
        (ESA | {"s2:processing_baseline": "03.01"}, {}, "", 1004),
        (ESA | {"s2:processing_baseline": "05.00", "earthsearch:boa_offset_applied": True}, {}, "", 1004),
        (ESA | {"s2:processing_baseline": "05.00"}, OFFSET, "", 4),
        # The pixels agree with the flag and the baseline, not with this offset (Element84/earth-search issues 66 and 71).
        (ESA | {"s2:processing_baseline": "05.00", "earthsearch:boa_offset_applied": True}, OFFSET, "", 1004),
        (ESA | {"s2:processing_baseline": "02.12", "earthsearch:boa_offset_applied": False}, OFFSET, "", 1004),
        (ESA | {"s2:processing_baseline": "05.00", "earthsearch:boa_offset_applied": False}, OFFSET, "none", 1004),
        (ESA, {}, "subtract", 4),
        (ESA, {}, "from_2022", 1004),
        ({"processing:version": "05.11", "platform": "landsat-8"}, {}, "", 1004),
    ],
)
def test_the_offset_of_sentinel_2(tmp_path, properties, asset, option, expected):
    save(tmp_path / "items.json", banded(tmp_path, [FLAT + 1000], asset=asset, **properties))
    options = PredictOptions(any_radiometry=True, s2_offsets={"s": option} if option else {})
    values, remarks = first(tmp_path, options)
    assert values == [pytest.approx(expected)]
    assert ("removed from their values already" in remarks) == properties.get("earthsearch:boa_offset_applied", False)


def test_the_scene_classification_masks_its_own_item(tmp_path):
    clear, cloudy = CLASSES.astype(np.float32), np.full((24, 40), 4.0, np.float32)
    scl = np.full((12, 20), 4, np.uint8)
    scl[:, 10:] = 9
    west, east = banded(tmp_path, [np.where(np.arange(40) < 20, clear, cloudy)], "a west"), banded(tmp_path, [clear], "b east")
    put(tmp_path / "scl.tif", scl, pixel=20.0)
    put(tmp_path / "clear.tif", np.full((12, 20), 5, np.uint8), pixel=20.0)
    west["assets"]["SCL"], east["assets"]["scl"] = {"href": "scl.tif"}, {"href": "clear.tif"}
    save(tmp_path / "items.json", west, east)
    assert (joined(mapped(tmp_path, scl={"s": "stac"})) == CLASSES).all()
    assert not (joined(mapped(tmp_path)) == CLASSES).all()
    with pytest.raises(UserError, match="expected s=stac"):
        mapped(tmp_path, scl={"s": "folder"})
    del east["assets"]["scl"]
    save(tmp_path / "items.json", west, east)
    with pytest.raises(UserError, match="b east: expected the band SCL"):
        mapped(tmp_path, scl={"s": "stac"})


def test_an_image_of_several_dates_says_so(tmp_path):
    items = [banded(tmp_path, [values], name, day=day) for values, name, day in ((FLAT - 1, "late", "2021-05-05"), (FLAT, "early", "2021-05-04"))]
    save(tmp_path / "items.json", *items)
    folder = mapped(tmp_path, Identity(spec(kind="image")))
    assert (joined(folder) == 4).all() and any("items of 2 dates, 20210504 to 20210505" in text for text in folder.info.remarks)


def test_a_broken_file_is_named_or_its_item_left_out(tmp_path):
    rng = np.random.default_rng(0)
    items = [banded(tmp_path, rng.normal(5, 0.1, (3, 240, 400)).astype(np.float32), name, day=day) for name, day in (("x", "2021-01-05"), ("y", "2021-02-05"))]
    path, file = save(tmp_path / "items.json", *items), tmp_path / "x" / "b.tif"
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], b"x", None):
        file.unlink() if damaged is None else file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"b\.tif"):
            mapped(tmp_path, three())
        folder = make_map(three(), region(path, on_bad="mask"), tmp_path / f"masked{len(damaged or '')}", PredictOptions(on_bad="mask"))
        assert (joined(folder, "dates") == 1).all() and folder.info.sensors[0].dates == ("2021-02-05",)
        assert any("left out" in text and "b.tif" in text for text in folder.info.remarks)


def test_changed_metadata_make_another_map(tmp_path):
    folder = tmp_path / "out"
    put(tmp_path / "x.tif", np.stack([FLAT, FLAT]), descriptions=None)
    for names, same in (("ab", True), ("ab", True), ("ba", False)):
        path = save(tmp_path / "items.json", item(assets={"data": {"href": "x.tif", "bands": [{"name": name} for name in names]}}))
        if same:
            make_map(Identity(), region(path), folder)
        else:
            with pytest.raises(UserError, match="another"):
                make_map(Identity(), region(path), folder)


def test_what_is_refused(tmp_path):
    def attempt(message, *items, content=None, model=None):
        path = save(tmp_path / "items.json", *items)
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError, match=message) as raised:
            make_map(model or Identity(), region(path), tmp_path / "out")
        assert "items.json" in str(raised.value) or "x/a.tif" in str(raised.value) or model, str(raised.value)

    good = banded(tmp_path, [FLAT])
    for change, message in [
        ({"assets": {"a": {"href": "missing.tif"}}}, "missing.tif: expected asset a of item x in items.json: a GeoTIFF, found no such file"),
        ({"assets": {"B02": {"href": "x/a.tif"}}}, "item x: expected the band a, .* found B02"),
        ({"assets": {"a": {"href": "https://example.org/a.tif"}}}, "asset a on this machine, found https.*; download it first.*stac-asset download items.json"),
        ({"assets": {"a": {"href": "s3://bucket/a.tif"}}}, "asset a on this machine, found s3://.*; download it first"),
        ({"assets": {"a": {"href": "x/a.tif", "bands": [{"name": "a"}, {"name": "b"}]}}}, "expected 2 bands, as item x describes for asset a, found 1"),
        ({"assets": {"x": {"href": "x/a.tif", "bands": [{"name": "a"}]}, "y": {"href": "x/a.tif", "bands": [{"name": "a"}]}}}, "one asset with band a, found x, y"),
        ({"assets": {"a": {"href": "x/a.tif", "eo:bands": [{}], "raster:bands": [{}, {}]}}}, "as many entries in raster:bands as bands, found 1 and 2"),
        ({"assets": {"a": {"href": "x/a.tif", "raster:bands": [{"scale": 0}]}}}, "a scale other than 0"),
        ({"properties": {"datetime": None}}, r"features\[0\].properties: datetime, or start_datetime, found neither"),
        ({"properties": {"datetime": "yesterday"}}, "datetime: a date and time such as"),
        ({"properties": {"datetime": "2021-01-05T00:00:00Z", "s2:processing_baseline": "new"}}, "a processing baseline such as 05.09"),
        ({"stac_version": "0.9.0"}, "an item of STAC 1, found version 0.9.0"),
    ]:
        attempt(message, good | change)
    attempt("expected each item once", good, good)
    attempt("expected STAC items: .*, found an ItemCollection without items")
    attempt("a STAC item, with stac_version", {"type": "Feature"})
    attempt("found JSON of type 'Catalog'", content='{"type": "Catalog"}')
    attempt("found JSON of another kind", content="[]")
    attempt("not valid JSON", content="{")
    attempt("expected a model that knows the names of its bands", good, model=Identity(bands=()))
    for path, message in ((tmp_path / "none.json", "no such file"), ("https://example.org/items", "--stac: expected a path of this machine, found https://example.org/items; save the items first"), (tmp_path / "x", "without any JSON")):
        with pytest.raises(UserError, match=message):
            read_items(path)
