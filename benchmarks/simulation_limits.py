"""Near-Bayes limits of the simulated sensors: how well a fixed classifier knows a crop from a whole parcel with known borders.

    python -m benchmarks.simulation_limits [--seeds=0,1,2] [--parcels=8000]

Simulates parcels without images: series of parcel means, and a patch of SPOT cells. Half of the parcels train, half test. Features: Sentinel-2 on
clear dates interpolated to every 20 days; Sentinel-1 in dB averaged over 12 days; of SPOT, means, standard deviations and correlations of bands,
detail at three scales and the radial spectrum. The classifier averages the class probabilities of a linear discriminant analysis with shrinkage and of
extra trees. Scores are mIoU in % over the 18 crops, one vote per parcel. Nothing of this project is trained.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier

from data.pastis.simulated import LAST_DAY, Region, draw_regions
from data.simulation import crops, optics, radar, seasons, spot as very_high, weather
from data.simulation.targets import CLASS_ORDER, LIMITS
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError

PATCH = 40  # m, of SPOT per parcel
OPTICAL_GRID, RADAR_GRID = np.arange(20, LAST_DAY, 20), np.arange(0, LAST_DAY, 12)
CLOUDY = 0.17  # probability that a parcel is cloudy on a date
TREES = 200
SUBSETS = {
    "S2": ("S2",),
    "S1A": ("S1A",),
    "S1A+S1D": ("S1A", "S1D"),
    "SPOT": ("SPOT",),
    "S1A+S1D+S2": ("S1A", "S1D", "S2"),
    "all": ("S1A", "S1D", "S2", "SPOT"),
}


@dataclasses.dataclass(frozen=True)
class Sample:
    """Parcels.

    Attributes:
      classes: (N,) PASTIS classes.
      features: sensor -> (N, F).
    """

    classes: np.ndarray
    features: Mapping[str, np.ndarray]


def draw_parcels(seed: int, count: int) -> Sample:
    """Simulates parcels of the regions of a seed, with the shares of crops of each region."""
    rng, regions = np.random.default_rng([seed, 3]), draw_regions(seed)
    classes, rows = [], {"S2": [], "S1A": [], "S1D": [], "SPOT": []}
    for index in range(count):
        region = regions[index % len(regions)]
        number = int(rng.choice(np.arange(1, 19), p=region.mix))
        season, angle = seasons.draw_season(rng, crops.NAMES[number], region.place), float(rng.uniform(0, np.pi))
        classes.append(number)
        rows["S2"].append(_optical(rng, season, region))
        for sensor, orbit in (("S1A", radar.ASCENDING), ("S1D", radar.DESCENDING)):
            rows[sensor].append(_radar(rng, season, region, (sensor, orbit, angle)))
        rows["SPOT"].append(_texture(_patch(rng, season, region, angle)))
    return Sample(np.array(classes), {name: np.array(values, np.float32) for name, values in rows.items()})


def _optical(rng: np.random.Generator, season: seasons.Season, region: Region) -> np.ndarray:
    days = region.days["S2"]
    values = optics.reflectance(season, days, region.wetness[days])
    values = values * (1 + rng.normal(0, 0.025, values.shape)) + rng.normal(0, 0.005, (len(days), 1)) + weather.draw_haze(rng, len(days))
    clear = rng.random(len(days)) >= CLOUDY
    return np.concatenate([np.interp(OPTICAL_GRID, days[clear], band[clear]) for band in values.T])


def _radar(rng: np.random.Generator, season: seasons.Season, region: Region, view: tuple[str, radar.Orbit, float]) -> np.ndarray:
    sensor, orbit, angle = view
    days = region.days[sensor]
    values = 10 * np.log10(radar.backscatter(rng, season, days, region.wetness[days], orbit, angle))
    slot = np.searchsorted(RADAR_GRID, days, side="right") - 1
    return np.concatenate([np.bincount(slot, band) / np.maximum(np.bincount(slot), 1) for band in values.T])


def _patch(rng: np.random.Generator, season: seasons.Season, region: Region, angle: float) -> np.ndarray:
    row, column = np.mgrid[0:PATCH, 0:PATCH].astype(np.float32).reshape(2, -1)
    place = very_high.rows_of(angle, row, column)
    cells = very_high.parcel_cells(rng, season, place, region.scene.day, float(region.wetness[region.scene.day]))
    return very_high.develop(rng, cells.reshape(PATCH, PATCH, 3), region.scene)


def _texture(image: np.ndarray) -> np.ndarray:
    values = image.reshape(3, -1).astype(np.float32)
    bright = image.astype(np.float32).mean(0)
    detail = [np.std(bright - ndimage.gaussian_filter(bright, scale)) for scale in (1, 2, 4)]
    power = np.abs(np.fft.fftshift(np.fft.fft2(bright - bright.mean()))) ** 2
    middle = PATCH // 2
    row, column = np.ogrid[-middle:middle, -middle:middle]
    ring = np.minimum(np.hypot(row, column), middle - 1).astype(int) // 2
    count = np.bincount(ring.ravel())
    radial = np.bincount(ring.ravel(), power.ravel()) / count
    peaks = ndimage.maximum(power, ring, np.arange(len(count))) / radial  # rows and lattices concentrate power in a direction
    correlation = np.asarray(np.corrcoef(values))[np.triu_indices(3, 1)]
    return np.concatenate([values.mean(1), np.log(values.std(1) + 0.1), correlation, np.log(detail), np.log(radial + 1), np.log(peaks)])


def scores(train: Sample, test: Sample, sensors: Sequence[str]) -> np.ndarray:
    """IoU (18,) of the crops, NaN for crops that do not occur."""
    inputs = [np.concatenate([part.features[name] for name in sensors], 1) for part in (train, test)]
    deviation = inputs[0].std(0) + 1e-6
    inputs = [(values - inputs[0].mean(0)) / deviation for values in inputs]
    models = [
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        ExtraTreesClassifier(TREES, min_samples_leaf=2, random_state=0, n_jobs=1),
    ]
    probability = sum(model.fit(inputs[0], train.classes).predict_proba(inputs[1]) for model in models)
    predicted = models[0].classes_[np.asarray(probability).argmax(1)]
    both = np.array([((predicted == c) & (test.classes == c)).sum() for c in range(1, 19)])
    either = np.array([((predicted == c) | (test.classes == c)).sum() for c in range(1, 19)])
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def limits(seed: int, parcels: int, subsets: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """IoU (18,) of each subset of sensors."""
    sample = draw_parcels(seed, parcels)
    # Regions alternate, so halves are taken within each of them.
    order = np.argsort(np.arange(parcels) % 4, kind="stable")
    half = [
        Sample(sample.classes[order[part]], {n: v[order[part]] for n, v in sample.features.items()})
        for part in (slice(0, None, 2), slice(1, None, 2))
    ]
    return {name: scores(half[0], half[1], sensors) for name, sensors in subsets.items()}


def compared(found: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The quantities of `targets.LIMITS`."""
    mean = {name: 100 * float(np.nanmean(iou)) for name, iou in found.items()}
    return {
        "S2": mean["S2"],
        "S1A / S2": mean["S1A"] / mean["S2"],
        "S1A+S1D+S2 - S2": mean["S1A+S1D+S2"] - mean["S2"],
        "SPOT / S2": mean["SPOT"] / mean["S2"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line of JSON per seed; returns 1 if a target is missed."""
    parser = Parser(prog="python -m benchmarks.simulation_limits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0", help="comma-separated seeds of the simulation")
    parser.add_argument("--parcels", type=int, default=8_000)
    options = parser.parse_args(arguments)
    if options.parcels < 400:
        raise UserError(f"--parcels: expected at least 400, so that every crop occurs, found {options.parcels}")
    missed = 0
    for seed in map(int, options.seeds.split(",")):
        found = limits(seed, options.parcels, SUBSETS)
        quantities = compared(found)
        crop: dict[str, float] = dict(zip(crops.NAMES[1:], 100 * found["S2"]))
        wrong = [name for name, value in quantities.items() if not LIMITS[name].holds(value)]
        wrong += [f"{first} above {second}" for first, second, _ in CLASS_ORDER if not crop[first] > crop[second]]
        missed += len(wrong)
        report = {
            "seed": seed,
            "parcels": options.parcels,
            "mIoU": {name: round(100 * float(np.nanmean(iou)), 1) for name, iou in found.items()},
            "compared": {name: round(value, 2) for name, value in quantities.items()},
            "IoU": {name: {c: round(100 * float(v)) for c, v in zip(crops.NAMES[1:], found[name])} for name in found},
            "missed": wrong,
        }
        print(json.dumps(report), flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(run_command(main))
