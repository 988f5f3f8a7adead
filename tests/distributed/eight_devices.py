"""Run with eight emulated devices: prints the losses of two steps in several layouts as JSON, one line.

python -m tests.distributed.eight_devices RECORDS [TASK,...]
"""

import dataclasses
import json
import sys

import jax

from omnisat_jax.records.reader import Records
from tests import steps
from tests.conftest import QUICK_MODEL

# (devices, replica, fsdp, microbatches)
LAYOUTS = ((1, 1, 1, 1), (8, 2, 2, 1), (4, 2, 2, 2))


def losses(settings, task, batch, layout):
    """Losses of two steps, the number of compilations, and how many parameters are cut over fsdp.

    On one device InfoNCE is dense, on several it runs as a ring.
    """
    *mesh, num_microbatches = layout
    task = dataclasses.replace(task, num_microbatches=num_microbatches)
    state, step, placed, root = steps.start(settings, task, batch, mesh, min_size=64)
    cut = sum("fsdp" in str(x.sharding.spec) for x in jax.tree.leaves(state.params))
    found = []
    for _ in range(2):
        state, metrics = step(state, placed, root)
        found.append(float(metrics["loss"]))
    return {"losses": found, "compilations": step._cache_size(), "cut": cut}


# {task: (preset, changes)}. Pre-training sees a series through patches and an image; fine-tuning a series through the convolutions of U-TAE.
MODELS = {"pretrain": ("demo,no_s1", QUICK_MODEL), "finetune": ("utae", {})}


def main():
    """The tasks, by default all, in every layout."""
    records, report = Records(sys.argv[1]), {}
    chosen = sys.argv[2].split(",") if sys.argv[2:] else MODELS
    for name in chosen:
        preset, changes = MODELS[name]
        settings, tasks, batch = steps.bench(records, batch_size=8, preset=preset, **changes)
        report[name] = {"x".join(map(str, layout)): losses(settings, tasks[name], batch, layout) for layout in LAYOUTS}
    print(json.dumps({"devices": jax.device_count(), "tasks": report}))


if __name__ == "__main__":
    main()
