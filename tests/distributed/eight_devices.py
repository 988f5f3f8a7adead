"""Run with eight emulated devices: prints the losses of two steps in several layouts as JSON, one line.

python -m tests.distributed.eight_devices RECORDS TASK LAYOUT...
"""

import dataclasses
import json
import sys

import jax

from omnisat_jax.records.reader import Records
from tests import steps
from tests.conftest import QUICK_MODEL


def losses(settings, task, batch, layout):
    """Losses of two steps, the number of compilations, and how many parameters are cut over fsdp. layout: devices, replica, fsdp, microbatches.

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
    return {"losses": found, "compilations": step.func._cache_size(), "cut": cut}


# {task: (preset, changes)}. Pre-training sees a series through patches and an image; fine-tuning a series through the convolutions of U-TAE.
MODELS = {"pretrain": ("demo,no_s1", QUICK_MODEL), "finetune": ("utae", {})}


def main():
    """The task in every layout, such as 8x2x2x1."""
    records, name, layouts = Records(sys.argv[1]), sys.argv[2], sys.argv[3:]
    preset, changes = MODELS[name]
    settings, tasks, batch = steps.bench(records, batch_size=8, preset=preset, **changes)
    runs = {layout: losses(settings, tasks[name], batch, map(int, layout.split("x"))) for layout in layouts}
    print(json.dumps({"devices": jax.device_count(), "runs": runs}))


if __name__ == "__main__":
    main()
