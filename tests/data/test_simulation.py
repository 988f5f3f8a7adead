"""The simulated world: nothing betrays a crop before it is sown, and land, sky and annotations look as `data/simulation/targets.py` says."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from data.pastis.instances import annotate_instances
from data.reading.datasets import simulator
from data.reading.workers import usual_jobs
from data.simulation import crops, landscape, optics, radar, seasons, spot, weather
from data.simulation.targets import STATISTICS

MOIST = 0.4


def signals(rng, number, days):
    """Red, near infrared, VV and VH (dB) of a random parcel of a class on some days, (4, T)."""
    place = seasons.Place(0.0, np.ones(3) / 3, 0.4)
    season, wetness = seasons.draw_season(rng, crops.NAMES[number], place), np.full(len(days), MOIST)
    echo = 10 * np.log10(radar.backscatter(rng, season, days, wetness, radar.ASCENDING, rng.uniform(0, np.pi)))
    return np.concatenate([optics.reflectance(season, days, wetness)[:, [2, 6]], echo], 1).T


def test_early_september_does_not_betray_an_annual_crop():
    rng, days = np.random.default_rng(0), np.array([2, 12, 75])
    drawn = np.array([[signals(rng, number, days) for _ in range(40)] for number in seasons.ANNUAL])  # (classes, parcels, 4, T)
    chance = np.array([[stats.kruskal(*drawn[:, :, band, day]).pvalue for day in range(3)] for band in range(4)])
    assert (chance[:, :2] > 0.01 / 8).all(), chance  # eight tests
    assert (chance[:2, 2] < 1e-4).all(), chance  # by mid November, winter crops are green: the test sees differences


def test_a_parcel_looks_like_its_previous_crop_in_september():
    """Late crops of last year still stand, early ones are stubble or a catch crop: the spread between parcels is wide."""
    rng, days = np.random.default_rng(1), np.array([5])
    red, infrared = np.array([signals(rng, 2, days)[:2, 0] for _ in range(80)]).T
    assert np.std((infrared - red) / (infrared + red)) > STATISTICS["NDVI spread between wheat parcels, September and October"].low


def test_perennial_crops_are_no_rotation():
    rng, days = np.random.default_rng(2), np.array([10, 375])
    season = seasons.draw_season(rng, "orchard", seasons.Place(0.0, np.ones(3) / 3, 0.4))
    this, after = season.leaf_area(days)
    assert this == pytest.approx(after, rel=0.05) and this > 0


def test_parcels_have_the_size_of_real_ones():
    areas, weights = [], []
    for seed in range(4):
        land = landscape.make_landscape(np.random.default_rng(seed), 128, crops.MIX)
        planted = np.array([cover in crops.NAMES for cover in land.covers])
        areas += list(land.areas[planted])
        # A parcel is met the more often the larger it is: each counts by its share inside the tile.
        weights += list(land.shares.sum(0)[planted] * landscape.PIXEL**2 / land.areas[planted])
    order = np.argsort(areas)
    middle = np.searchsorted(np.cumsum(np.array(weights)[order]), sum(weights) / 2)
    assert STATISTICS["parcel, median area, ha"].holds(np.array(areas)[order][middle] / 10_000)
    assert 0.5 < np.std(np.log(areas)) < 1.0


def test_a_landscape_is_covered_and_annotated_consistently():
    land = landscape.make_landscape(np.random.default_rng(3), 32, crops.MIX)
    np.testing.assert_allclose(land.shares.sum(1), 1, atol=1e-5)
    assert land.cells.shape == (320, 320) and set(land.covers[-len(landscape.COMMON) :]) == set(landscape.COMMON)
    assert ((land.labels > 0) == (land.parcels > 0)).all() and len(land.covers) == len(land.areas) == len(land.angles)
    for number in np.unique(land.parcels[land.parcels > 0]):
        labels = set(land.labels[land.parcels == number].tolist())
        assert labels in ({crops.NAMES.index(land.covers[number - 1])}, {19})


def test_the_sky_is_as_cloudy_as_over_real_tiles():
    rng = np.random.default_rng(4)
    ground = np.full((16, 16, 10), 0.06)
    skies = [weather.draw_sky(rng, 16) for _ in range(500)]
    blue = np.array([(weather.add_sky(ground, sky) if sky else ground)[..., 0] for sky in skies])
    blue += weather.draw_haze(rng, 500)[:, None, None, 0]
    shares = (blue > 0.06 + 0.05).mean((1, 2))  # as `benchmarks/simulation_statistics.py` finds clouds
    assert STATISTICS["S2 dates more than 5 % cloudy"].holds((shares > 0.05).mean())
    assert STATISTICS["S2 cloudy pixels"].holds(shares.mean())


@pytest.mark.parametrize("size", [8, 9, 40])
def test_a_sky_fits_tiles_of_any_size(size):
    rng = np.random.default_rng(5)
    for sky in filter(None, (weather.draw_sky(rng, size) for _ in range(20))):
        seen = weather.add_sky(np.full((size, size, 10), 0.1), sky)
        assert seen.shape == (size, size, 10) and (seen > 0).all() and sky.shadow.shape == (size, size)


def test_rows_of_vines_are_hardly_resolved():
    rng = np.random.default_rng(6)
    scene = spot.Scene(300, np.full(3, 2.0), 1.0)
    seen = []
    for period in (2.25, 12.0):  # m; cells are 1 m wide
        cells = np.tile(0.2 + 0.1 * np.sin(2 * np.pi * np.arange(200) / period), (200, 1))[..., None].repeat(3, -1)
        rows = spot.develop(rng, cells, scene).astype(float)[1].mean(0)  # noise averages out
        seen.append(np.std(rows))
    assert seen[0] < 0.35 * seen[1]


LABELS = arrays.arrays(np.uint8, st.tuples(st.integers(2, 9), st.integers(2, 9)), elements=st.integers(0, 4))


@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_instances_follow_the_parcels(numbers):
    labels = np.where(numbers > 0, numbers % 3 + 1, 0).astype(np.uint8)
    found = annotate_instances(labels, 1000 + numbers.astype(np.int32))
    instances, zones, heat = (found[name] for name in ("INSTANCES", "ZONES", "HEATMAP"))
    seen = np.unique(numbers[numbers > 0])
    assert ((instances > 0) == (labels > 0)).all() and set(np.unique(instances)) - {0} == set(range(1, len(seen) + 1))
    assert all(len(np.unique(instances[numbers == number])) == 1 for number in seen)
    assert heat.shape == labels.shape and ((heat >= 0) & (heat <= 1)).all()
    assert (zones == 0).all() if not len(seen) else (zones > 0).all() and heat.max() == 1


SIZES = {"pastis": (4, 8), "treesat": (4, 304), "flair": (6, 64)}


@pytest.mark.parametrize("name", ["pastis", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("treesat", "flair"))])
def test_any_number_of_processes_writes_the_same_bytes(name, tmp_path):
    tiles, size = SIZES[name]
    done = []
    one, two = (
        simulator(name).simulate(tmp_path / str(jobs), tiles=tiles, tile_size=size, seed=5, jobs=jobs, progress=done.append) for jobs in (1, 2)
    )
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file()) and done[-1] == tiles
    for path in files:
        assert path.suffix == ".h5" or (one / path).read_bytes() == (two / path).read_bytes(), path


def test_few_tiles_start_no_process():
    assert usual_jobs(1) == usual_jobs(19) == 1 and usual_jobs(10_000) >= 1
