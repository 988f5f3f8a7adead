"""Results of runs, as they are in results.json."""

import json
import pathlib

import numpy as np

from omnisat_jax.metrics.segmentation import SegmentationScores
from omnisat_jax.modalities import subsets as all_subsets
from omnisat_jax.report.results import plain

NAMES = ("s2", "spot")
CLASSES = ("Background", "Meadow <b>", "Corn")
PROTOCOL = {
    "dataset": "pastis", "simulated": True, "fingerprint": "abc", "protocol": "official_5fold", "fold": 1, "train": ["fold_1"], "train_tiles": 6,
    "validation": [], "test": ["fold_5"], "test_tiles": 2, "void_test_parcels": False, "classes": list(CLASSES), "seed": 0, "pretrain_steps": 3,
    "dates": {"s2": 4}, "modalities": list(NAMES), "missing_modalities": [], "probe": "none", "colours": [], "unscored": [], "threshold": 0.5,
    "label_share": 1.0, "pretrain_from": "", "broken": {"on_bad": "raise", "tiles": 0}, "checkpoint": 8,
}  # fmt: skip


def entry(names, counts, **more) -> dict:
    """One entry of "subsets", with the scores of confusion counts (3,4)."""
    scores = SegmentationScores(CLASSES)
    scores.add(np.array(counts))
    return {"modalities": list(names), "scores": plain(scores.compute()), "confusion": scores.confusion.tolist()} | more


def segmentation(**protocol) -> dict:
    """Results of dense labels: 80 %, then less and less of the pixels of each class are right."""
    entries = [entry(subset, np.eye(3, 4, dtype=int) * (8 - i) + 1) for i, subset in enumerate(all_subsets(NAMES))]
    return {"name": "trial", "task": "segment", "protocol": PROTOCOL | protocol, "subsets": entries}


def of_subsets(**values) -> dict:
    """Results whose subsets, as a_b, have these mIoU."""
    found = segmentation(test_tiles=7)
    entries = [
        entry(name.split("_"), np.eye(3, 4, dtype=int)) | {"scores": {"miou": value, "iou": dict.fromkeys(CLASSES)}} for name, value in values.items()
    ]
    return found | {"subsets": entries}


def scaling(**changes) -> dict:
    """What results of either kind say about a temperature."""
    counts = np.stack([np.full(15, 2.0), np.linspace(0, 2, 15), np.linspace(0, 2, 15)], 1)
    before, after = ({"nll": nll, "ece": ece, "counts": counts.tolist()} for nll, ece in ((0.75, 12.0), (0.5, 3.0)))
    return {"temperature": 1.5, "remark": "", "validation": ["fold_4"], "predictions": 30, "before": before, "after": after} | changes


def classification(**protocol) -> dict:
    """Results of tile labels."""
    scores = {
        "f1_macro": 50.0, "f1_weighted": 60.0, "map": 70.0, "f1_every_label": 20.0, "map_every_label": 10.0,
        "f1": {"Background": 40.0, "Meadow <b>": 60.0, "Corn": None},
    }  # fmt: skip
    return {"name": "trial", "task": "classify", "protocol": PROTOCOL | protocol, "subsets": [{"modalities": list(NAMES), "scores": scores}]}


def named(names) -> dict:
    """Results in which everything that has a name has one of `names`."""
    protocol = PROTOCOL | {
        "dataset": names[0], "simulated": False, "protocol": names[0], "train": list(names), "test": list(names), "classes": list(names),
        "unscored": list(names), "pretrain_from": names[0], "missing_modalities": list(names), "dates": dict.fromkeys(names, 3), "pretrain_steps": 0,
    }  # fmt: skip
    scores = {"miou": 1.0, "oa": 2.0, "iou": dict.fromkeys(names, 3.0)}
    return {"name": names[0], "task": "segment", "protocol": protocol, "subsets": [{"modalities": list(names), "scores": scores}]}


def write_run(folder: pathlib.Path) -> pathlib.Path:
    """Fills a folder with every file of a finished run that its report shows."""
    rng = np.random.default_rng(0)
    calibration = np.stack([np.full(15, 100.0), np.linspace(0, 100, 15), np.linspace(10, 90, 15)], 1)
    entries = []
    for index, subset in enumerate(all_subsets(NAMES)):
        scores = SegmentationScores(CLASSES)
        scores.add(rng.integers(0, 9, (3, 4)) + 60 * (3 - index) * np.eye(3, 4, dtype=int), calibration)
        row = {"modalities": list(subset), "scores": scores.compute(), "confusion": scores.confusion.tolist()}
        entries.append(row | {"calibration": calibration.tolist()})
    results = {"name": "trial", "task": "segment", "protocol": PROTOCOL, "subsets": entries}
    (folder / "results.json").write_text(json.dumps(results))
    rows = [{"stage": "finetune", "step": step, "loss": 3.0 / step} for step in range(1, 9)]
    rows.append({"stage": "finetune", "step": 8, "validation_miou": 40.0})
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    info = {
        "command": "launch.py --config=configs/pastis.py", "config": {"seed": 0}, "data": {"source": "x", "fingerprint": "abc"}, "git": None,
        "versions": {"jax": "0"}, "device": {"kind": "cpu", "platform": "cpu", "count": 1}, "cores": 3, "processes": 1, "mesh": {"data": 1},
        "precision": "float32", "seconds": {"finetune": [{"start": 3.0, "steps": 9.0, "total": 12.0}, {"steps": 1.0, "total": 1.0}]},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(info))
    np.savez(
        folder / "panels.npz", tile=np.array(["a", "b"]), subsets=np.array(["s2+spot", "s2", "spot"]), labels=rng.integers(0, 3, (2, 8, 8)),
        predictions=rng.integers(0, 3, (2, 3, 8, 8)), **{"input/0/spot": rng.integers(0, 255, (1300, 1300, 3), dtype=np.uint8)},
    )  # fmt: skip
    return folder
