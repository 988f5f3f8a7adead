"""Run with eight emulated devices: prints the losses of two steps in several layouts as JSON, one line.

python -m tests.distributed.eight_devices RECORDS
"""

import dataclasses
import json
import sys

import jax

from omnisat_jax.records.reader import Records
from tests import steps

# (devices, replica, fsdp, microbatches)
LAYOUTS = ((1, 1, 1, 1), (8, 1, 1, 1), (8, 2, 2, 1), (4, 2, 2, 2))


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


def main():
    """Every task in every layout."""
    settings, tasks, batch = steps.bench(Records(sys.argv[1]), batch_size=8, preset="demo,no_s1")  # a series and an image
    report = {
        name: {"x".join(map(str, layout)): losses(settings, task, batch, layout) for layout in LAYOUTS}
        for name, task in tasks.items()
    }
    print(json.dumps({"devices": jax.device_count(), "tasks": report}))


if __name__ == "__main__":
    main()
