"""Joins the results of several folds by adding their confusion counts, as the evaluation code of PASTIS does.

python -m omnisat_jax.report.folds runs/fold1 runs/fold2 ... [--min_pixels=100] [--beside runs/baseline/fold1 runs/baseline/fold2 ...]
"""

import contextlib
import dataclasses
import math
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from omnisat_jax.cli import terminal
from omnisat_jax.cli.arguments import Parser, words
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.files import working_copy
from omnisat_jax.files.addresses import need_bucket, need_local, scheme_of
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.metrics.calibration import scaling_entry
from omnisat_jax.metrics.segmentation import SegmentationScores, learnable_classes, learnable_scores
from omnisat_jax.report import comparison, tables
from omnisat_jax.report.results import parcel_entry, plain
from omnisat_jax.report.run_files import Results, read_results
from omnisat_jax.types import StrPath

# What the protocols of all folds have in common.
SAME = (
    "dataset", "simulated", "fingerprint", "protocol", "void_test_parcels", "classes", "seed", "pretrain_steps", "label_share",
    "modalities", "dates", "probe",
)  # fmt: skip
FOLD = re.compile(r"fold_\d+")
UNUSED = (*working_copy.LARGE, "model")  # folders of a run in a bucket that are not read here
CHECKPOINT = ("checkpoint", "checkpoint_is", "checkpoint_checksum")  # differ from fold to fold

@dataclasses.dataclass(frozen=True)
class Minima:
    """What a class needs for the means of joined folds.

    Attributes:
      min_pixels: labeled test pixels over all folds, to enter mIoU.
      min_training: training pixels in each fold that tests it, to be learnable.
    """

    min_pixels: int = 0
    min_training: int = 1


def join(runs: Mapping[str, Results], minima: Minima | None = None) -> Results:
    """Joins the results of the folds of one study.

    Args:
      runs: {folder: its results}, at least one.
      minima: what a class needs to enter the means; None for the defaults.

    Raises:
      UserError: runs that do not belong together, or that test on the same part twice.
    """
    _check(runs)
    first = next(iter(runs.values()))
    protocols = [results["protocol"] for results in runs.values()]
    tested = [part for protocol in protocols for part in protocol["test"]]
    if len(set(tested)) < len(tested):
        raise UserError(f"expected runs that test on different parts, found {', '.join(tested)}: a part would count twice")
    training = [fold for results in runs.values() for fold in results.get("training", [])]
    known = all("training" in results for results in runs.values())
    minima = minima or Minima()
    joined = {
        kind: _add([results[kind] for results in runs.values()], first["protocol"], training if known else [], minima)
        for kind in ("subsets", "floor")
        if kind in first
    }
    joined |= {"training": training} if known else {}
    protocol = first["protocol"] | {
        "fold": "+".join(str(p["fold"]) for p in protocols),
        "train": ["the others"],
        "validation": ["one of the others"] if protocols[0]["validation"] else [],
        # Folds need not be of equal size.
        "tiles_of_folds": {key: [p[key] for p in protocols] for key in ("train_tiles", "unlabelled_train_tiles") if all(key in p for p in protocols)},
        "test": tested,
        "test_tiles": sum(p["test_tiles"] for p in protocols),
        **{key: "/".join(str(p.get(key)) for p in protocols) for key in CHECKPOINT if key in first["protocol"]},
        **dataclasses.asdict(minima),
    }
    scalings = [results.get("temperature_scaling") for results in runs.values()]
    scaling = {"temperature_scaling": _add_scalings(scalings)} if all(scalings) else {}
    return {"name": first["name"], "task": "segment", "protocol": protocol} | joined | scaling


def _check(runs):
    """Refuses runs whose counts cannot be added."""
    (first_name, first), *others = runs.items()
    for name, results in runs.items():
        if results["task"] != "segment":
            raise UserError(f"{name}: expected the task 'segment', whose results have counts to add, found {results['task']!r}")
    for name, results in others:
        for key in SAME:
            wanted, found = first["protocol"].get(key), results["protocol"].get(key)
            if wanted != found:
                raise UserError(f"{name}: {key} is {found!r}, but {wanted!r} in {first_name}; all folds must have the same")
        if [s["modalities"] for s in results["subsets"]] != [s["modalities"] for s in first["subsets"]]:
            raise UserError(f"{name}: expected scores of the same subsets of modalities as in {first_name}, found others")


def _add_scalings(scalings):
    """What the temperature of each fold changes on its test tiles, over the test tiles of all folds."""
    total = sum(scaling["predictions"] for scaling in scalings)

    def side(name: str) -> dict[str, object]:
        # A fold without a labeled pixel has no likelihood, and counts for nothing.
        known = [(scaling[name]["nll"], scaling["predictions"]) for scaling in scalings if scaling["predictions"]]
        finite = total and all(value is not None for value, _ in known)
        mean = sum(value * count for value, count in known) / total if finite else math.nan
        return scaling_entry(mean, np.sum([np.asarray(scaling[name]["counts"]) for scaling in scalings], 0))

    return {
        "temperature": "/".join(f"{scaling['temperature']:.3f}" for scaling in scalings),
        "remark": "; ".join(dict.fromkeys(scaling["remark"] for scaling in scalings if scaling["remark"])),
        "validation": ["one of the others"] if all(scaling["validation"] for scaling in scalings) else [],
        "predictions": total,
        "before": side("before"),
        "after": side("after"),
    }


def _add(runs, protocol, training, minima: Minima):
    """The entries of several runs as one list with summed counts."""
    classes, unscored, joined = protocol["classes"], protocol["unscored"], []
    for entries in zip(*runs, strict=True):
        scores = SegmentationScores(classes, unscored)
        tested = [_confusion(entry, len(classes)) for entry in entries]
        for entry, confusion in zip(entries, tested):
            scores.add(confusion, entry.get("calibration"))
        values = scores.compute(minima.min_pixels)
        added = {"modalities": entries[0]["modalities"]}
        if training:
            added["learnable"] = learnable_classes(tested, training, classes, minima.min_training)
            values |= learnable_scores(values["iou"], added["learnable"], unscored)
        added |= {"scores": plain(values), "confusion": scores.confusion.tolist()}
        counts = ("tiles", "tiles_with_all")
        added |= {key: sum(entry[key] for entry in entries) for key in counts if all(key in entry for entry in entries)}
        if all("parcels" in entry for entry in entries):
            rare = [name for name, value in values["iou"].items() if value is None]
            added["parcels"] = parcel_entry(np.sum([entry["parcels"]["confusion"] for entry in entries], 0), classes, [*unscored, *rare])
        joined.append(added if scores.calibration is None else added | {"calibration": scores.calibration.tolist()})
    return joined


def _confusion(entry, classes):
    """(K,K+1) the counts of an entry of one run."""
    confusion = np.asarray(entry.get("confusion", ()))
    if confusion.shape != (classes, classes + 1):
        raise UserError(f"results.json: expected {classes} by {classes + 1} confusion counts, found {confusion.shape}")
    return confusion


def read(folders: Iterable[StrPath]) -> dict[str, Results]:
    """Reads results.json of several runs, as {folder: results}.

    Raises:
      UserError: a folder that is named twice.
      DataError: a folder without results, or with damaged ones.
    """
    names = [str(pathlib.Path(folder)) for folder in folders]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{twice[0]}: expected each run once, found it twice")
    return {name: read_results(name, scored=False) for name in names}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the joined scores with their protocol; `arguments` default to those of the process."""
    parser = Parser(
        prog="python -m omnisat_jax.report.folds", description="Join the results of several folds by adding their confusion counts."
    )
    parser.add_argument(
        "runs", nargs="+", type=words,
        help="working directories of finished runs, one per fold; gs://BUCKET/FOLDER is one of them, or the common one of --folds",
    )  # fmt: skip
    parser.add_argument("--min_pixels", type=int, default=Minima.min_pixels, help="leave classes with fewer labeled pixels out of mIoU")
    parser.add_argument(
        "--min_training", type=int, default=Minima.min_training, help="training pixels that make a class learnable, in each fold that tests it"
    )
    parser.add_argument(
        "--beside", nargs="+", action="append", default=[], metavar="RUN", type=words,
        help="the folds of another method, such as a baseline, compared on the same tiles and parcels; may be repeated",
    )  # fmt: skip
    parser.add_argument("--resamples", type=int, default=1000, help="of the test tiles and parcels, for the intervals")
    options = parser.parse_args(arguments)
    if options.resamples < 1:
        raise UserError(f"--resamples: expected 1 or more, found {options.resamples}")
    minima, console = Minima(options.min_pixels, options.min_training), terminal.console()
    methods = []
    with contextlib.ExitStack() as stack:
        for places in (options.runs, *options.beside):
            folders = [folder for place in places for folder in _folders(place, stack)]
            # In the order of their test parts, so that the tiles of all methods are resampled alike.
            runs = dict(sorted(read(folders).items(), key=lambda run: run[1]["protocol"]["test"]))
            methods.append(comparison.Method(runs, join(runs, minima)))
        comparison.check(methods)
        tables.show(console, methods[0].joined)
        tables.show_classes(console, methods[0].joined)
        comparison.show(console, methods, options.resamples)
    return 0


def _folders(place: str, stack: contextlib.ExitStack) -> list[StrPath]:
    """The folders of this machine for a run, or in a bucket for the common folder of --folds; copies are removed when the stack is closed."""
    if not scheme_of(place):
        need_local(place, "runs")
        return [place]
    need_bucket(place, "runs")
    folds = [name for name in Bucket(place).top() if FOLD.fullmatch(name)]
    copies = []
    for address in [f"{place.rstrip('/')}/{name}" for name in folds] or [place]:
        copies.append(stack.enter_context(working_copy.opened(address, left_out=UNUSED)))
        working_copy.pull(copies[-1])
    return copies


if __name__ == "__main__":
    sys.exit(run_command(main))
