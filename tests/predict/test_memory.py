"""The memory of a map: below the bound that is stated, and the same for a map of ten times the area."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from omnisat_jax.predict import blocks, memory, reading
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.plan import make_plan
from omnisat_jax.predict.products import rasters
from omnisat_jax.predict.products.finishing import finish
from omnisat_jax.predict.products.options import ProductOptions
from omnisat_jax.predict.run import READERS, make_map
from tests.conftest import ROOT
from tests.predict.region import Identity, put, spec
from tests.predict.test_run import region

SIDE = 160  # pixels


class Forgetful(Identity):
    """Keeps no batch."""

    def __init__(self, *specs, **more):
        super().__init__(*specs, **more)
        self.batches = Nothing()


class Nothing:
    def append(self, batch):
        del batch


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Units of work that are small beside these rasters. What GDAL keeps is not seen by `tracemalloc`."""
    monkeypatch.setattr(blocks, "STRIP", 2**19)
    for module in (reading, memory):
        monkeypatch.setattr(module, "CHUNK", 2**12)
    monkeypatch.setattr(memory, "CACHE", 0)
    monkeypatch.setattr(rasters, "CACHE", 2**20)


def model():
    return Forgetful(spec(channels=3, patch=4), bands=("a", "b", "c"), window=8)


def scene(here, width):
    for month in range(1, 5):
        values = np.random.default_rng(month).integers(0, 5, (3, SIDE, width)).astype(np.float32)
        put(here / "s" / f"x_2021{month:02d}05.tif", values, compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    return region(f"s={here / 's'}")


def peak(function, *arguments):
    tracemalloc.start()
    result = function(*arguments)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found, result


@pytest.mark.parametrize("options", [{}, {"probabilities": True}, {"crs": "EPSG:32632"}, {"block": 32}, {"batch": 1, "overlap": 0.5}], ids=str)
def test_a_map_needs_what_is_stated(tmp_path, options):
    chosen = PredictOptions(**{"block": 96, **options})
    there = scene(tmp_path, SIDE)
    bound = memory.memory(make_plan(model(), there, chosen), READERS)
    found, _ = peak(make_map, model(), there, tmp_path / "out", chosen)
    assert found < 1.1 * bound + 2**19, (found, bound)  # beside arrays there are modules, headers and plans
    assert bound < 3 * found, (found, bound)


def test_ten_times_the_area_needs_no_more(tmp_path):
    options = PredictOptions(block=64, probabilities=True)
    peaks = []
    for times in (1, 10):
        there = scene(tmp_path / str(times), SIDE * times)
        # How many reads are under way at once is chance, and a small map has few chances.
        tries = [peak(make_map, model(), there, tmp_path / f"out{times}-{number}", options) for number in range(1 if times > 1 else 6)]
        making, folder = max(found for found, _ in tries), tries[0][1]
        finishing, _ = peak(finish, folder, ProductOptions())
        peaks.append((making, finishing, len(list(folder.info.grid.blocks()))))
    (making, finishing, few), (more_making, more_finishing, many) = peaks
    allowed = 2**10 * (many - few) + 2**19  # names and hashes of blocks, and the plans of the last reads
    assert more_making < 1.02 * making + allowed and more_finishing < 1.02 * finishing + allowed, peaks
    assert allowed < 3 * SIDE * 9 * SIDE * 4 / 3, "the larger input would not be noticed"


CODE = """
import json, resource, sys
from omnisat_jax.predict import memory
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.products import rasters
from omnisat_jax.predict.products.finishing import finish
from omnisat_jax.predict.products.options import ProductOptions
from omnisat_jax.predict.run import make_map
from tests.predict.test_memory import Forgetful, spec
from tests.predict.test_run import region

memory.CACHE = rasters.CACHE = 2**22
for here in sys.argv[1:]:
    model = Forgetful(spec(channels=3, dates=1), bands=("a", "b", "c"), window=128)
    finish(make_map(model, region(f"s={here}/s"), f"{here}/out", PredictOptions(overlap=0, batch=2)), ProductOptions())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10)
"""


def test_what_gdal_keeps_is_bounded(tmp_path):
    """The memory of a process, which includes what `tracemalloc` does not see. Files are stored in rows, which cross the whole map."""
    for times in (1, 10):
        put(tmp_path / str(times) / "s" / "x_20210105.tif", np.ones((3, 512, 4096 * times), np.uint8), compress="deflate")
    command = [sys.executable, "-c", CODE, str(tmp_path / "1"), str(tmp_path / "10")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())  # MiB
    assert many < few + 16, (few, many)  # the larger map has 60 MiB of measurements and 60 MiB of rasters
