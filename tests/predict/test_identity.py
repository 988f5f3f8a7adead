"""With windows that are the test tiles, a map is what the evaluation of the run predicted, for every subset of sensors."""

import io

import numpy as np
import pytest
from rasterio.transform import from_origin
from rich.console import Console

from data.reading.datasets import open_dataset
from omnisat_jax import Model
from omnisat_jax.dates import EPOCH
from omnisat_jax.modalities import subsets
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.region import Region
from omnisat_jax.predict.run import make_map
from tests.conftest import QUICK_RUN, go, tiny
from tests.predict.test_run import joined
from tests.region import write

LEFT, TOP = 600_000, 5_700_000
NAMES = ("s1a", "s1d", "s2", "spot")


@pytest.fixture(scope="module", params=[("s2", "spot"), pytest.param(NAMES, marks=[pytest.mark.exhaustive, pytest.mark.slow])], ids="+".join)
def names(request):
    return request.param


@pytest.fixture(scope="module")
def trained(names, simulated, cache, tmp_path_factory):
    """The folder of a run on simulated tiles, whose model takes at most 150 dates, more than all test tiles have together."""
    folder = tmp_path_factory.mktemp("trained")
    limits = {f"modalities.{name}.dates_eval": 150 for name in names[:-1]}
    changes = limits | {"data.raw_dir": str(simulated), "data.cache_dir": str(cache), "pretrain.steps": 0}
    config = tiny(**changes, **(QUICK_RUN if names != NAMES else {}))
    for name in set(NAMES) - set(names):
        del config.modalities[name]
    go(config, folder / "run", Console(file=io.StringIO()))
    return folder / "run"


@pytest.fixture(scope="module")
def mosaic(names, trained, simulated, tmp_path_factory):
    """The test tiles side by side, as dated GeoTIFFs; and the tiles with their labels."""
    folder, dataset = tmp_path_factory.mktemp("mosaic"), open_dataset("pastis", simulated)
    with np.load(trained / "tiles.npz", allow_pickle=False) as found:
        shown = found["tile"].tolist()
    tiles = []
    for column, name in enumerate(shown):
        raw = dataset.read(name)
        for sensor in names:
            values = np.asarray(raw[sensor]["values"])
            pixel = 160 / values.shape[1]
            for number, frame in enumerate(values):
                day = (EPOCH + np.timedelta64(int(raw[sensor]["dates"][number]), "D").item()).strftime("%Y%m%d") if sensor != "spot" else ""
                write(
                    folder / sensor / f"{day}_{name}.tif".lstrip("_"), frame.transpose(2, 0, 1), transform=from_origin(LEFT + 160 * column, TOP, pixel, pixel),
                    crs="EPSG:32631", descriptions=dataset.modalities[sensor].bands, nodata={"i": -32768, "f": np.nan}.get(values.dtype.kind),
                    photometric="minisblack", alpha="unspecified",
                )  # fmt: skip
        tiles.append(np.asarray(raw["labels"]))
    return folder, tiles


def test_the_map_of_the_test_tiles_is_their_evaluation(names, trained, mosaic, tmp_path):
    model = Model.from_pretrained(trained / "model")
    folder, labels = mosaic
    with np.load(trained / "tiles.npz", allow_pickle=False) as found:
        counts = found["counts"]
    region = Region.from_arguments([f"{name}={folder / name}" for name in names[:-1]], [f"spot={folder / 'spot'}"], {})
    classes = len(model.classes)
    for number, subset in enumerate(subsets(names)):
        options = PredictOptions(modalities=subset, overlap=0, block=24, batch=2)
        found = joined(make_map(model, region, tmp_path / str(number), options))
        assert found.shape == (16, 16 * len(labels))
        for index, label in enumerate(labels):
            predicted, known = found[:, 16 * index : 16 * index + 16], label < classes
            pairs = label[known].astype(int) * (classes + 1) + predicted[known]
            confusion = np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)
            np.testing.assert_array_equal(confusion, counts[index, number], err_msg=f"{subset}, tile {index}")
