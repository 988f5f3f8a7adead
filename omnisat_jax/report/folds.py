"""Joins the results of several folds by adding their confusion counts, as PASTIS' own evaluation does.

python -m omnisat_jax.report.folds runs/fold1 runs/fold2 ... [--min_pixels=100]
"""

import argparse
import pathlib
import sys

import numpy as np

from omnisat_jax.cli import terminal
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.metrics.segmentation import SegmentationScores
from omnisat_jax.report import tables
from omnisat_jax.report.results import plain
from omnisat_jax.report.run_files import read_results

SAME = (
    "dataset",
    "simulated",
    "fingerprint",
    "protocol",
    "void_test_parcels",
    "classes",
    "seed",
    "pretrain_steps",
    "label_share",
    "modalities",
    "dates",
    "probe",
)
CHECKPOINT = ("checkpoint", "checkpoint_is", "checkpoint_checksum")  # of each fold its own


def join(runs: dict, min_pixels: int = 0) -> dict:
    """One set of results over all folds.

    Args:
      runs: {where it was read: results.json as written by a run}, at least one.
      min_pixels: classes with fewer labelled pixels over all folds are left out of mIoU.

    Raises:
      UserError: runs that do not belong together, or that test on the same part twice.
    """
    (first_name, first), *others = runs.items()
    for name, results in runs.items():
        if results["task"] != "segment":
            raise UserError(f"{name}: only segmentation results have counts to add, found task {results['task']!r}")
    for name, results in others:
        for key in SAME:
            ours, theirs = first["protocol"][key], results["protocol"][key]
            if ours != theirs:
                raise UserError(f"{name}: {key} is {theirs!r}, but {ours!r} in {first_name}; folds of one study must agree")
        if [s["modalities"] for s in results["subsets"]] != [s["modalities"] for s in first["subsets"]]:
            raise UserError(f"{name}: scored other subsets of modalities than {first_name}")
    tested = [part for results in runs.values() for part in results["protocol"]["test"]]
    if len(set(tested)) < len(tested):
        raise UserError(f"the runs test on {', '.join(tested)}: a part would count twice")
    kinds = [kind for kind in ("subsets", "floor") if kind in first]
    about = first["protocol"]
    joined = {
        kind: _add([results[kind] for results in runs.values()], about["classes"], about["unscored"], min_pixels) for kind in kinds
    }
    protocols = [results["protocol"] for results in runs.values()]
    protocol = first["protocol"] | {
        "fold": "+".join(str(p["fold"]) for p in protocols),
        "train": ["the others"],
        "validation": ["one of the others"] if protocols[0]["validation"] else [],
        "train_tiles": protocols[0]["train_tiles"],
        "test": tested,
        "test_tiles": sum(p["test_tiles"] for p in protocols),
        **{key: "/".join(str(p.get(key)) for p in protocols) for key in CHECKPOINT if key in first["protocol"]},
        "min_pixels": min_pixels,
    }
    return {"name": first["name"], "task": "segment", "protocol": protocol} | joined


def _add(runs, classes, unscored, min_pixels):
    """The entries of several runs as one list, counts summed."""
    joined = []
    for entries in zip(*runs, strict=True):
        scores = SegmentationScores(classes, unscored)
        for entry in entries:
            confusion = np.asarray(entry.get("confusion", ()))
            if confusion.shape != (len(classes), len(classes) + 1):
                raise UserError(f"expected counts of {len(classes)} by {len(classes) + 1} pixels in results.json, found {confusion.shape}")
            scores.add(confusion, entry.get("calibration"))
        added = {
            "modalities": entries[0]["modalities"],
            "scores": plain(scores.compute(min_pixels)),
            "confusion": scores.confusion.tolist(),
        }
        counts = ("tiles", "tiles_with_all")
        added |= {key: sum(entry[key] for entry in entries) for key in counts if all(key in entry for entry in entries)}
        joined.append(added if scores.calibration is None else added | {"calibration": scores.calibration.tolist()})
    return joined


def read(folders) -> dict:
    """{folder: its results.json}.

    Raises:
      UserError: a folder without results.
    """
    names = [str(pathlib.Path(folder)) for folder in folders]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{twice[0]}: expected each run once")
    return {name: read_results(name, scored=False) for name in names}


def main(arguments=None) -> int:
    """Prints the joined table, with its protocol."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="working directories of finished runs, one a fold")
    parser.add_argument("--min_pixels", type=int, default=0, help="leave classes with fewer labelled pixels out of mIoU")
    options = parser.parse_args(arguments)
    tables.show(terminal.console(), join(read(options.runs), options.min_pixels))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
