"""The products of embeddings: what is in them, how others read them, and that they do not depend on the blocks."""

import datetime
import json
import sys

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import xarray
from rio_cogeo import cog_validate

from omnisat_jax.errors import UserError
from omnisat_jax.predict.embedding import dequantise, quantise
from omnisat_jax.predict.products import embeddings_raster, embeddings_zarr
from omnisat_jax.predict.products.finishing import finish
from omnisat_jax.predict.products.options import EMBEDDINGS, ProductOptions
from tests.predict.products import maps

WIDTH = 5
ALL = ProductOptions(embeddings=EMBEDDINGS)
NAMES = {"embeddings.zarr", "embeddings.tif", "embeddings.parquet", "embedding.png"}


def random_tokens(grid, seed=0):
    """Quantised embeddings (H,W,D) of a smooth texture, scales and used sensors; a tenth is unknown."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((grid.rows, grid.columns)) / 7
    waves = np.stack([np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-1, 1, (WIDTH, 3)) * (2, 2, 3)], -1)
    used = np.where(rng.random(waves.shape[:2]) < 0.1, 0, rng.integers(1, 8, waves.shape[:2])).astype(np.uint32)
    stored, scales = quantise((waves + rng.normal(0, 0.1, waves.shape)).astype(np.float32), used > 0)
    return stored, scales, used


def make_map(path, block=48, rows=11, columns=15, **changes):
    info = maps.info(maps.grid(rows, columns, block), embedding_width=WIDTH, probabilities=False, **changes)
    folder = maps.write_map(path, info, maps.random_arrays(info))
    arrays = dict(zip(("embeddings", "scales", "token_used"), random_tokens(info.grid), strict=True))
    for place in info.grid.blocks():
        tokens = info.grid.tokens_of(place)
        where = slice(tokens.top, tokens.top + tokens.height), slice(tokens.left, tokens.left + tokens.width)
        folder.write(place, folder.read(place) | {name: np.ascontiguousarray(values[where]) for name, values in arrays.items()})
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = make_map(tmp_path_factory.mktemp("finished") / "map")
    return folder, finish(folder, ALL)


def test_xarray_reads_the_store(finished):
    folder, products = finished
    grid, (stored, scales, _) = folder.info.grid, random_tokens(folder.info.grid)
    with xarray.open_zarr(products["embeddings.zarr"], consolidated=False) as found:
        assert (
            found.embeddings.dims == ("time", "band", "y", "x")
            and found.embeddings.dtype == np.int8
            and found.scales.dtype == np.float32
        )
        np.testing.assert_array_equal(found.embeddings[0].transpose("y", "x", "band"), stored)
        np.testing.assert_array_equal(found.scales[0], scales)
        assert (
            found.x.values[0] == grid.left + 40
            and found.y.values[0] == grid.top - 40
            and found.x.values[1] - found.x.values[0] == 80
        )
        assert found.time.values[0] == np.datetime64("2021-05-28")  # half of 2021-02-11 to 2021-09-12
        values = (found.embeddings * found.scales)[0].transpose("y", "x", "band")
        np.testing.assert_array_equal(values, dequantise(stored, scales))
        assert (
            rasterio.CRS.from_wkt(found.spatial_ref.attrs["crs_wkt"]).to_epsg() == 32631
            and found.embeddings.attrs["grid_mapping"] == "spatial_ref"
        )


def test_the_store_has_the_attributes_of_its_conventions(finished):
    metadata = json.loads((finished[1]["embeddings.zarr"] / "zarr.json").read_text())
    about = metadata["attributes"]
    assert metadata["zarr_format"] == 3 and [entry["name"] for entry in about["zarr_conventions"]] == [
        "geoemb:",
        "proj:",
        "spatial:",
    ]
    assert (about["geoemb:type"], about["geoemb:dimensions"], about["geoemb:data_type"], about["geoemb:gsd"]) == (
        "pixel",
        WIDTH,
        "int8",
        80,
    )
    assert about["geoemb:quantization"]["scale"] == {"type": "array", "array_name": "scales", "nodata": "NaN"}
    assert about["geoemb:model"] == "urn:omnisat-jax:model:0123456789abcdef"
    sources = about["geoemb:source_data"]
    assert len(sources) == 3 and all(text.startswith("file:///") for text in sources) and sources[0].endswith("/imagery/s2")
    assert (
        about["proj:code"] == "EPSG:32631"
        and about["spatial:transform"] == [80, 0, 500_000, 0, -80, 5_700_000]
        and about["spatial:shape"] == [11, 15]
    )
    array = json.loads((finished[1]["embeddings.zarr"] / "embeddings" / "zarr.json").read_text())
    assert array["codecs"][0]["name"] == "sharding_indexed" and array["dimension_names"] == ["time", "band", "y", "x"]


def test_models_of_the_hub_have_an_address(tmp_path):
    info = maps.info(maps.grid(), model={"source": "hf:org/name@v1.0"})
    assert embeddings_zarr.model_address(info) == "https://huggingface.co/org/name/tree/v1.0"


def test_the_geotiff_is_coded_like_alphaearth(finished):
    folder, products = finished
    stored, _, used = random_tokens(folder.info.grid)
    with rasterio.open(products["embeddings.tif"]) as source:
        values = source.read().transpose(1, 2, 0)
        assert source.dtypes == ("int8",) * WIDTH and source.nodata == -128 and source.transform[:3] == (80, 0, 500_000)
        assert source.descriptions == ("A00", "A01", "A02", "A03", "A04") and "127.5" in source.tags()["CODING"]
    assert cog_validate(products["embeddings.tif"], strict=True) == (True, [], [])
    assert ((values == -128).all(-1) == (used == 0)).all() and ((values == -128).any(-1) == (used == 0)).all()
    unit = stored / np.maximum(np.linalg.norm(stored.astype(float), axis=-1, keepdims=True), 1e-9)
    decoded = np.sign(values) * (values / 127.5) ** 2
    assert np.abs(decoded - unit)[used > 0].max() < 0.009  # half a step at 1
    np.testing.assert_allclose(embeddings_raster.decode(values), decoded, atol=1e-6)


@pytest.mark.parametrize(("version", "expected"), [("3.10.3", ""), ("3.11.0", "TILE"), ("3.12.1", "TILE"), ("4.0.0", "TILE")])
def test_bands_are_interleaved_by_tile_where_gdal_can(monkeypatch, version, expected):
    monkeypatch.setattr(rasterio, "__gdal_version__", version)
    assert embeddings_raster.interleave() == expected


def test_the_table(finished):
    folder, products = finished
    grid, (stored, scales, used) = folder.info.grid, random_tokens(folder.info.grid)
    table = geopandas.read_parquet(products["embeddings.parquet"])
    assert table.columns.tolist() == ["id", "geometry", "start", "end", "embedding", "used"] and table.crs == "EPSG:32631"
    assert table.id.tolist() == np.flatnonzero(used).tolist()
    np.testing.assert_array_equal(np.stack(table.embedding), dequantise(stored, scales)[used > 0])
    row, column = np.divmod(table.id.to_numpy(), grid.columns)
    assert (shapely.contains_xy(table.geometry, grid.left + 80 * column + 40, grid.top - 80 * row - 40)).all() and (
        table.area == 6400
    ).all()
    assert set(table.start) == {datetime.date(2021, 2, 11)} and set(table.end) == {datetime.date(2021, 9, 12)}
    names = [",".join(name for bit, name in enumerate(("s2", "s1a", "spot")) if bits >> bit & 1) for bits in used[used > 0]]
    assert table.used.tolist() == names


def test_the_picture_shows_three_directions(finished):
    with rasterio.open(finished[1]["embedding.png"]) as source:
        image = source.read()
    used = random_tokens(finished[0].info.grid)[2]
    times = 512 // 15
    assert image.shape == (4, 11 * times, 15 * times) and ((image[3, ::times, ::times] == 255) == (used > 0)).all()
    colours = image[:3, ::times, ::times][:, used > 0].astype(float)
    assert (colours.std(1) > 25).all() and np.abs(np.corrcoef(colours) - np.eye(3)).max() < 0.2


def test_products_do_not_depend_on_the_blocks(tmp_path, finished):
    source = tmp_path / "parcels.gpkg"
    rng = np.random.default_rng(0)
    shapes = [
        shapely.box(x, y, x + side, y + side)
        for x, y, side in zip(500_000 + rng.uniform(0, 1100, 20), 5_699_120 + rng.uniform(0, 800, 20), rng.uniform(20, 300, 20))
    ]
    geopandas.GeoDataFrame({"name": range(22)}, geometry=[*shapes, shapely.box(0, 0, 1, 1), None], crs="EPSG:32631").to_file(source)
    expected = None
    for block in (512, 31, 5):
        products = finish(make_map(tmp_path / str(block), block), ProductOptions(parcels=source, embeddings=EMBEDDINGS, on_bad="mask"))
        names = [*NAMES, "parcels_embeddings.parquet"]
        files = [file for name in names for file in (products[name], *products[name].rglob("*")) if file.is_file()]
        found = {file.relative_to(tmp_path / str(block)): file.read_bytes() for file in files}
        expected = expected or found
        assert found.keys() == expected.keys() and [key for key in found if found[key] != expected[key]] == []
    assert len(expected) > 10
    check_means(geopandas.read_parquet(products["parcels_embeddings.parquet"]), shapes)


def check_means(table, shapes):
    """Compares with the mean over the label pixels whose centers lie in a parcel."""
    stored, scales, used = random_tokens(maps.grid())
    values = dequantise(stored, scales).astype(np.float64).repeat(8, 0).repeat(8, 1)
    rows, columns = np.indices((88, 120))
    assert table.columns.tolist() == ["name", "embedding", "tokens", "used", "start", "end", "geometry"]
    for shape, (_, row) in zip(shapes, table.iterrows()):
        inside = shapely.contains_xy(shape, 500_000 + 10 * (columns + 0.5), 5_700_000 - 10 * (rows + 0.5)) & ~np.isnan(
            values[..., 0]
        )
        if not inside.any():
            assert row.embedding is None and row.tokens == 0
            continue
        np.testing.assert_allclose(row.embedding, values[inside].mean(0), atol=1e-6)
        assert row.tokens == len(set(zip((rows[inside] // 8).tolist(), (columns[inside] // 8).tolist())))
    assert (table.tokens[:20] > 0).sum() > 15 and table.embedding[20:].isna().all() and table.used[20:].isna().all()


def test_finishing_again_replaces_the_products(tmp_path):
    folder = make_map(tmp_path / "map")
    first = finish(folder, ProductOptions(embeddings=("zarr",)))
    (first["embeddings.zarr"] / "left.over").touch()
    products = finish(folder, ALL)
    assert set(products) >= NAMES and not (first["embeddings.zarr"] / "left.over").exists()
    assert {path.name for path in folder.path.iterdir()} == {*products, "run.json", "blocks"}
    record, item = json.loads((folder.path / "run.json").read_text()), json.loads((folder.path / "map.json").read_text())
    assert set(record["products"]) >= NAMES and record["products"]["embeddings.zarr"]["bytes"] > 1000
    assert {"embeddings_zarr", "embeddings_tif", "embeddings_parquet", "embedding", "class", "class_style"} <= set(item["assets"])
    assert item["assets"]["embeddings_zarr"]["href"] == "./embeddings.zarr" and item["assets"]["embedding"]["roles"] == ["overview"]


def test_images_alone_are_dated_by_the_map(tmp_path):
    folder = make_map(tmp_path / "map", sensors=maps.SENSORS[2:])
    for place in folder.info.grid.blocks():
        arrays = folder.read(place)
        folder.write(place, arrays | {"used": np.minimum(arrays["used"], 1), "token_used": np.minimum(arrays["token_used"], 1)})
    found = geopandas.read_parquet(finish(folder, ProductOptions(embeddings=("parquet",)))["embeddings.parquet"])
    assert found.start[0].isoformat() == json.loads((folder.path / "run.json").read_text())["created"][:10]


def test_a_map_without_embeddings_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected a map with embeddings, found one without"):
        finish(maps.make_map(tmp_path / "map"), ALL)


@pytest.mark.parametrize(("module", "format", "extra"), [("zarr", "zarr", "cube"), ("geopandas", "parquet", "vector")])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, module, format, extra):
    folder = make_map(tmp_path / "map")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf'need {module}: pip install "omnisat-jax\[{extra}\]"'):
        finish(folder, ProductOptions(embeddings=(format,)))


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("embeddings", lambda array: array[..., :2], "an array 'embeddings'"),
        ("scales", lambda array: np.full_like(array, np.nan), "scales: finite ones"),
        ("token_used", lambda array: array.astype(np.int64), "an array 'token_used'"),
    ],
)
def test_damaged_blocks_are_refused(tmp_path, name, spoil, message):
    folder = make_map(tmp_path / "map")
    maps.spoil_block(folder, name, spoil)
    with pytest.raises(UserError, match=message):
        finish(folder, ALL)


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    folder = make_map(tmp_path / "map")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embeddings_raster, "png", fail)
    with pytest.raises(UserError, match="embedding.png: cannot be written .*No space left on device"):
        finish(folder, ALL)
    assert "finished" not in json.loads((folder.path / "run.json").read_text())
