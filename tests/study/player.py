"""A program that plays launch.py, and the small study that tests run with it."""

from configs.studies import base
from omnisat_jax.study import grid

RUN = "plain-seed0-fold1"  # one of its runs
PLAYER = '''
"""Writes the files of a finished run, from its command line."""
import json, os, pathlib, sys
import numpy as np

options = dict(part.lstrip("-").split("=", 1) for part in sys.argv[1:])
workdir = pathlib.Path(options["workdir"])
workdir.mkdir(parents=True, exist_ok=True)
with open(workdir / "calls", "a") as calls:
    calls.write(json.dumps(options) + "\\n")
if options.get("config.data.crop") == "4":
    sys.exit("error: data.crop is wrong")
if options.get("stage") == "pretrain":
    (workdir / "pretrain").mkdir(exist_ok=True)
    (workdir / "pretrain" / "done.json").write_text("{}")
    sys.exit()
seed, good = int(options["config.seed"]), "pretrain_from" in "".join(options)
rng = np.random.default_rng(seed)
counts = np.zeros((6, 2, 2, 3), int)
counts[:, :, 0, 0], counts[:, :, 1, 1] = 10, rng.integers(4, 7, (6, 1)) + 3 * good
counts[:, 1, 1, 0] = 5
for name in ("evaluate/done.json", "model/model.safetensors", "model/statistics.json", "model/config.json"):
    (workdir / name).parent.mkdir(exist_ok=True)
    (workdir / name).write_text("{}")
np.savez(workdir / "tiles.npz", tile=np.array([f"t{i}" for i in range(6)])[::-1], counts=counts)
protocol = {"classes": ["a", "b"], "unscored": [], "threshold": 0.5, "simulated": True, "dataset": "pastis", "protocol": "single_split",
            "test": ["fold_5"], "test_tiles": 6, "train_tiles": 9}
subsets = []
for index, names in enumerate((["s2", "spot"], ["s2"])):
    total = counts[:, index].sum(0)
    iou = [100 * total[k, k] / (total[k].sum() + total[:, k].sum() - total[k, k]) for k in range(2)]
    subsets.append({"modalities": names, "scores": {"miou": float(np.mean(iou)), "ece": 4.0}})
(workdir / "results.json").write_text(json.dumps({"task": "segment", "protocol": protocol, "subsets": subsets}))
(workdir / "run.json").write_text(json.dumps({"device": {"platform": "cpu"}, "cores": len(os.sched_getaffinity(0))}))
'''


def make(**changes) -> grid.Study:
    """A study of three rows, two of which are the same run, with two seeds and two label shares."""
    config = base.study("trial", baseline="plain")
    config.seeds = (0, 1)
    config.label_shares = (0.5, 1.0)
    config.resamples = 200
    base.add(config, "plain", "", base.NO_PRETRAIN)
    base.add(config, "pretrained", "", published=base.Published(60.0, "somewhere, mIoU"))
    base.add(config, "only_s2", "", subset="s2")
    config.update(changes)
    return grid.parse(config)


def calls(folder) -> dict[str, int]:
    """{name of a run: how often it was started} below the folder of a study."""
    return {path.parent.name: len(path.read_text().splitlines()) for path in folder.rglob("calls")}
