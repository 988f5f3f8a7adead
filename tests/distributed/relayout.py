"""Run with eight emulated devices: checksums of a state that is cut in several ways, as JSON, one line.

python -m tests.distributed.relayout
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from omnisat_jax.train import checksums

LAYOUTS = {
    "copied": P(),
    "rows": P("fsdp"),
    "columns": P(None, "fsdp"),
    "both": P("data", "fsdp"),
    "all rows": P(("data", "fsdp")),
}


def main():
    """For each pair of layouts: what differs when the same state is compared, and when one element of it has changed."""
    mesh = jax.make_mesh((2, 4), ("data", "fsdp"))
    values = {"kernel": np.arange(16 * 8, dtype=np.float32).reshape(16, 8), "half": np.ones((8, 8), jnp.bfloat16)}
    changed = values | {"kernel": np.where(values["kernel"] == 77, np.nextafter(np.float32(77), np.float32(78)), values["kernel"])}

    def place(tree, spec):
        return jax.tree.map(lambda x: jax.device_put(x, NamedSharding(mesh, spec)), tree) | {"step": jnp.int32(3)}

    report = {}
    for saved, spec in LAYOUTS.items():
        expected = checksums.of_state(place(values, spec))
        for restored, other in LAYOUTS.items():
            report[f"{saved}, {restored}"] = [checksums.differing(place(tree, other), expected) for tree in (values, changed)]
        host = jax.device_get(place(values, spec))
        report[f"{saved}, on the host"] = [checksums.differing(host, expected), checksums.differing(host | {"kernel": changed["kernel"]}, expected)]
        report[f"{saved}, regions"] = len(expected["['kernel']"])
    print(json.dumps(report))


if __name__ == "__main__":
    main()
