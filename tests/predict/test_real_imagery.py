"""Maps of real imagery, where some is at hand: the evaluation's predictions again, and a region without labels."""

import datetime
import io
import json
import pathlib

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rich.console import Console

from data.reading.datasets import open_dataset
from omnisat_jax import Model
from omnisat_jax.dates import EPOCH
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.region import Region
from omnisat_jax.predict.run import make_map, map_region
from tests.conftest import go, real, tiny
from tests.predict.test_run import joined
from tests.region import write

LEFT, TOP, SIDE = 500_000, 5_650_000, 320
SUBSETS = (("s1a", "s2"), ("s1a",), ("s2",))


@pytest.fixture(scope="module")
def flanders(tmp_path_factory):
    """The folder of a run that was trained on three quadrants of two scenes and tested on the fourth; and the scenes as dated GeoTIFFs."""
    folder = tmp_path_factory.mktemp("flanders")
    source = real("pastis_flanders")
    changes = {"data.raw_dir": str(source), "data.cache_dir": str(folder / "cache"), "data.fold": 4}
    go(tiny(**changes), folder / "run", Console(file=io.StringIO()))
    dataset, places = open_dataset("pastis", source), quadrants(source)
    for name, (scene, row, column) in places.items():
        raw = dataset.read(name)
        for sensor in ("s1a", "s2"):
            for frame, number in zip(np.asarray(raw[sensor]["values"][:]), raw[sensor]["dates"]):
                day = EPOCH + datetime.timedelta(int(number))
                write(
                    folder / scene / sensor / f"{sensor}_{day:%Y%m%d}_{name}.tif", frame.transpose(2, 0, 1), crs="EPSG:32631",
                    transform=from_origin(LEFT + SIDE * column, TOP - SIDE * row, 10, 10), descriptions=dataset.modalities[sensor].bands,
                    nodata=-32768 if frame.dtype == np.int16 else np.nan,
                )  # fmt: skip
    return folder, places


def quadrants(source: pathlib.Path) -> dict[str, tuple[str, int, int]]:
    """{tile: scene, row, column}."""
    features = json.loads((source / "metadata.geojson").read_text())["features"]
    centres = {str(f["properties"]["ID_PATCH"]): np.array(list(points(f["geometry"]["coordinates"]))).mean(0) for f in features}
    out = {}
    for name, centre in centres.items():
        middle = np.mean([other for tile, other in centres.items() if tile[:4] == name[:4]], 0)
        out[name] = name[:4], int(centre[1] < middle[1]), int(centre[0] > middle[0])
    return out


def points(coordinates):
    if isinstance(coordinates[0], float | int):
        yield coordinates[:2]
    else:
        for entry in coordinates:
            yield from points(entry)


def region(folder, scene):
    return Region.from_arguments([f"{name}={folder / scene / name}" for name in ("s1a", "s2")], [], {})


@pytest.mark.parametrize("number, subset", enumerate(SUBSETS))
def test_the_fourth_quadrant_is_what_the_evaluation_predicted(flanders, tmp_path, number, subset):
    folder, places = flanders
    model = Model.from_pretrained(folder / "run" / "model")
    with np.load(folder / "run" / "tiles.npz", allow_pickle=False) as found:
        tested = dict(zip(found["tile"].tolist(), found["counts"][:, number]))
    dataset, classes = open_dataset("pastis", real("pastis_flanders")), len(model.classes)
    for name, counts in tested.items():
        scene, row, column = places[name]
        found = joined(make_map(model, region(folder, scene), tmp_path / scene, PredictOptions(overlap=0, modalities=subset)))
        labels = np.asarray(dataset.read(name)["labels"][:])
        predicted = found[32 * row : 32 * row + 32, 32 * column : 32 * column + 32][labels < classes]
        pairs = labels[labels < classes].astype(int) * (classes + 1) + predicted
        np.testing.assert_array_equal(np.bincount(pairs, minlength=counts.size).reshape(counts.shape), counts)


def test_a_year_of_composites_with_two_empty_months(flanders, tmp_path):
    """The bands of this region are not those of the model: refused by name. Its radar alone is mapped, two months of S2 are empty."""
    folder, _ = flanders
    model, source = Model.from_pretrained(folder / "run" / "model"), real("belgium_2021")
    series = [f"s2={source / 's2'}"]
    with pytest.raises(ValueError, match="without B8A"):
        make_map(model, Region.from_arguments(series, [], {}), tmp_path / "refused", PredictOptions(origin="2020-09-01"))
    # The model's third band of radar is the difference of the first two.
    for path in sorted((source / "s1").iterdir()):
        with rasterio.open(path) as image:
            values = image.read()
            profile = dict(transform=image.transform, crs=image.crs, nodata=np.nan)
        write(tmp_path / "s1a" / path.name, np.stack([*values, values[0] - values[1]]), descriptions=model.sensors["s1a"].bands, **profile)
    products = map_region(
        model, Region.from_arguments([f"s1a={tmp_path / 's1a'}"], [], {}), tmp_path / "map", PredictOptions(origin="2020-09-01", overlap=0.5)
    )
    with rasterio.open(products["class.tif"]) as image:
        assert image.shape == (104, 104) or image.shape == (100, 100)
        assert (image.read(1)[:100, :100] != 255).all() and image.transform.c == 664_000 and image.transform.f == 5_612_120
    assert 0 < json.loads((tmp_path / "map" / "run.json").read_text())["seam_index"] < 0.5
