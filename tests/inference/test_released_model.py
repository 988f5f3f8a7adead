"""The trained model of docs/models, as users meet it: from its folder and GeoTIFFs of a simulated place to a map that is as good as its card says."""

import pytest
import rasterio

from data.pastis.reader import VOID
from data.pastis.scene import write_scene
from omnisat_jax import Model, Region, map_region
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "models" / "pastis_simulated"
LARGEST = 2**21  # bytes, of a folder that everybody clones
ACCURACY = 78.1  # overall, in %, of the map of this place from Sentinel-2; clouds and fields are drawn once, and single test tiles have 45 to 98
MARGIN = 2.0  # points; other processors round otherwise
CARD_MARGIN = 10.0  # points; the card has the mean of twenty tiles


@pytest.fixture(scope="module")
def model():
    return Model.from_pretrained(FOLDER)


def test_it_is_small_simulated_and_licensed(model):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < LARGEST
    assert model.simulated and {sensor.name for sensor in model.modalities} == {"s1a", "s1d", "s2", "spot"}
    card = (FOLDER / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n") and "Simulated data: do not use on real imagery." in card


def test_a_map_is_as_good_as_it_was(model, tmp_path):
    """ACCURACY changes with the model and with the simulation, and with nothing else."""
    (stated,) = [entry.scores["oa"] for entry in model.trained.info.provenance.scores if entry.modalities == ("s2",)]
    write_scene(tmp_path / "scene", size=48)
    products = map_region(model, Region.from_arguments([f"s2={tmp_path / 'scene' / 's2'}"], [], {}), tmp_path / "map")
    with rasterio.open(products["class.tif"]) as found, rasterio.open(tmp_path / "scene" / "labels.tif") as labels:
        predicted, true = found.read(1), labels.read(1)
    known = true != VOID
    accuracy = 100 * (predicted == true)[known].mean()
    assert len({*true[known]}) > 4
    assert accuracy == pytest.approx(ACCURACY, abs=MARGIN) and accuracy == pytest.approx(stated, abs=CARD_MARGIN)
