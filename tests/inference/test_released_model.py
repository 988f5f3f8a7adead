"""The trained model of docs/models, as users meet it: from its folder and GeoTIFFs of a simulated place to a map that is as good as its card says."""

import pytest
import rasterio

from data.pastis.reader import VOID
from data.pastis.scene import write_scene
from omnisat_jax import Model, Region, map_region
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "models" / "pastis_simulated"
SENSORS = ("s1a", "s1d", "s2")
LARGEST = 2**21  # bytes, of a folder that everybody clones
MARGIN = 10  # points of overall accuracy: the place has few fields, and the card is about the mean of twenty tiles


@pytest.fixture(scope="module")
def model():
    return Model.from_pretrained(FOLDER)


def test_it_is_small_simulated_and_licensed(model):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < LARGEST
    assert model.simulated and {sensor.name for sensor in model.modalities} == {*SENSORS, "spot"}
    card = (FOLDER / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n") and "Simulated data: do not use on real imagery." in card


def test_a_map_is_as_good_as_the_card_says(model, tmp_path):
    (stated,) = [entry.scores["oa"] for entry in model.trained.info.provenance.scores if {*entry.modalities} == {*SENSORS}]
    write_scene(tmp_path / "scene", size=64)
    region = Region.from_arguments([f"{name}={tmp_path / 'scene' / name}" for name in SENSORS], [], {})
    products = map_region(model, region, tmp_path / "map")
    with rasterio.open(products["class"]) as found, rasterio.open(tmp_path / "scene" / "labels.tif") as labels:
        predicted, true = found.read(1), labels.read(1)
    known = true != VOID
    assert len({*true[known]}) > 4
    assert 100 * (predicted == true)[known].mean() == pytest.approx(stated, abs=MARGIN)
