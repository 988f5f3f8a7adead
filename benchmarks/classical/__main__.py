"""Strong baselines without a network: extra trees or logistic regression on features of each pixel, under the protocol of a run.

    python -m benchmarks.classical --records=DIR --model=logistic [--folds=1,2,3,4] [--modalities=s2,s1a] [--void_test_parcels] [--out=DIR]

Features (`series.py`, `texture.py` and `features.py` beside this file):

- Sentinel-2: pixels are screened for clouds, snow and shadows, interpolated to every --days days, and NDVI, NDWI, NDMI and NDRE are added.
- Radar: the mean of power over 3 x 3 pixels in dB, VV, VH and VV - VH; mean and standard deviation of every --days days and of the whole
  series. Records do not name the unit; --radar_unit does, and values that cannot have it are refused.
- Other series: bands as they are, interpolated.
- An image finer than the labels (SPOT): per label pixel, and around it, mean, deviation, gradient energy and its direction, and energies of
  log-Gabor filters of four wavelengths.

Where nothing is known of a modality (a tile that lacks it, a pixel that is never measured), its features are the means of the training pixels, and a
column says so; the output counts these pixels ("filled"). A tile without any of the modalities is not scored, as in a run.

Prints one line of JSON per seed; with several, one more with the mean and its t-interval. --out writes folders like those of runs,
DIR/seed_0/fold_1, which `python -m omnisat_jax.report.folds` joins and compares with those of networks (--beside).
"""

import argparse
import datetime
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.classical.features import UNITS, FeatureConfig
from benchmarks.classical.folds import Cache, ClassicalConfig, Fold
from benchmarks.classical.models import MODELS
from benchmarks.classical.writing import results_of, write
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.metrics.intervals import seed_interval
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import choose_split
from omnisat_jax.report import folds as joining


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line of JSON per seed; `arguments` default to those of the process."""
    options = _parse(arguments)
    records, minima = Records(options.records), joining.Minima(options.min_pixels, options.min_training)
    if records.task != "segment":
        raise UserError(f"{options.records}: expected dense labels, found labels of tiles, for which this baseline has no features")
    if options.out and pathlib.Path(options.out).exists():
        raise UserError(f"{options.out}: expected a new folder for results, found one of this name; choose another --out")
    config, scores = _config(options, records), []
    cache: Cache = {}
    for seed in options.seeds:
        start, runs, about = time.monotonic(), {}, {}
        for number in options.folds:
            fold = Fold(records, choose_split(options.protocol, records.parts, number), config, seed, cache)
            name = f"seed_{seed}/fold_{number}"
            runs[name], about[str(number)] = _run(records, fold, number, pathlib.Path(options.out, name) if options.out else None)
        joined = joining.join(runs, minima)
        (entry,) = joined["subsets"]
        scores.append(entry["scores"]["miou"])
        found = {
            "model": config.model, "modalities": config.features.modalities, "folds": options.folds, "seed": seed,
            "label_share": config.label_share, "simulated": records.info.simulated, "seconds": round(time.monotonic() - start, 1), **entry["scores"],
            "learnable": entry["learnable"], **({"parcels": entry["parcels"]["scores"]} if "parcels" in entry else {}), "fits": about,
        }  # fmt: skip
        print(json.dumps(found), flush=True)
    if len(scores) > 1:
        known = [np.nan if score is None else score for score in scores]
        mean = {"seeds": options.seeds, "miou": float(np.mean(known)), "t_interval_over_seeds": seed_interval(known)}
        print(json.dumps(mean), flush=True)
    return 0


def _run(records: Records, fold: Fold, number: int, folder: pathlib.Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of a fold, and what its line of output says about the fit."""
    fitted = fold.fit()
    results, tiles, parcels = results_of(records, fold, fitted, number)
    if folder:
        write(folder, records, results, tiles, parcels)
    about = {"pixels": fitted.pixels, "filled": fitted.filled, "features": fold.roles, "fit_seconds": round(fitted.seconds, 1)}
    if fitted.strength:
        about |= {"C": fitted.strength, "chosen_on": fitted.chosen_on}
    return results, about


def _config(options, records):
    """The typed options."""
    usable = tuple(name for name, stored in records.modalities.items() if stored.kind != "location")
    features = FeatureConfig(
        modalities=tuple(options.modalities.split(",")) if options.modalities else usable,
        origin=options.origin,
        days=options.days,
        window=options.window,
        optical_window=options.optical_window,
        radar_unit=options.radar_unit,
    )
    return ClassicalConfig(features, options.model, options.void_test_parcels, options.trees, options.C, options.max_pixels, options.label_share)


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise argparse.ArgumentTypeError(f"expected different numbers from 0, separated by commas, found {text}")
    return [int(part) for part in parts]


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text}")
    return int(text)


def _origin(text: str) -> str:
    if text not in ("season", "year"):
        try:
            datetime.date.fromisoformat(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected season, year or a day YYYY-MM-DD, found {text}") from None
    return text


def _odd(text: str) -> int:
    if (number := _positive(text)) % 2 == 0:
        raise argparse.ArgumentTypeError(f"expected an odd number of pixels, found {text}")
    return number


def _parse(arguments):
    parser = Parser(
        prog="python -m benchmarks.classical", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", required=True, help="folder of prepared records with dense labels (runs/cache/..., data.prepare)")
    parser.add_argument("--model", choices=MODELS, default="extra_trees")
    parser.add_argument("--protocol", default="auto", help="as data.protocol of a run")
    parser.add_argument("--folds", type=_numbers, default=[1], help="comma-separated; counts of all folds are added")
    parser.add_argument("--modalities", default="", help="comma-separated; default: all sensors of the records")
    parser.add_argument("--origin", type=_origin, default=FeatureConfig.origin, help="day 0, as data.origin of a run: a day, season or year")
    parser.add_argument("--void_test_parcels", action="store_true", help="as data.void_test_parcels of a run")
    parser.add_argument("--min_pixels", type=int, default=0, help="classes with fewer labeled pixels are left out of mIoU")
    parser.add_argument("--min_training", type=int, default=1, help="training pixels that make a class learnable")
    parser.add_argument("--seeds", type=_numbers, default=[0], help="comma-separated; of the trees, and of the choice of training pixels")
    parser.add_argument("--trees", type=_positive, default=ClassicalConfig.trees)
    parser.add_argument("--C", type=float, default=0.0, help="of logistic regression; 0: the best on the validation part or, without one, on each training part")
    parser.add_argument("--max_pixels", type=int, default=ClassicalConfig.max_pixels, help="training pixels, drawn evenly from the tiles; 0: all")
    parser.add_argument("--label_share", type=float, default=ClassicalConfig.label_share, help="as data.label_share of a run; with its seed, of the same tiles")
    parser.add_argument("--days", type=_positive, default=FeatureConfig.days, help="between the days that series are interpolated to, and over which radar is averaged")
    parser.add_argument("--window", type=_odd, default=FeatureConfig.window, help="side in pixels of the spatial mean of radar")
    parser.add_argument("--optical_window", type=_odd, default=FeatureConfig.optical_window, help="the same of other series; 1: none")
    parser.add_argument("--radar_unit", choices=UNITS, default=FeatureConfig.radar_unit)
    parser.add_argument("--out", default="", help="new folder for results that report.folds reads; default: none are written")
    options = parser.parse_args(arguments)
    if not 0 <= options.C < float("inf"):
        parser.error(f"--C: expected 0 or more, found {options.C}")
    if not 0 < options.label_share <= 1:
        parser.error(f"--label_share: expected a share above 0, at most 1, found {options.label_share}")
    if options.max_pixels < 0:
        parser.error(f"--max_pixels: expected 0 or more, found {options.max_pixels}")
    names = options.modalities.split(",")
    if len(set(names)) < len(names):
        parser.error(f"--modalities: expected each modality once, found {options.modalities}")
    return options


if __name__ == "__main__":
    sys.exit(run_command(main))
