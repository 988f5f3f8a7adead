"""Run with eight emulated devices: the ring InfoNCE against the dense one on 1, 2, 4 and 8 of them, as JSON, one line.

python -m tests.distributed.ring [all]     all: every group on every number of devices, instead of on four and eight
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.aot.collectives import totals
from omnisat_jax.aot.hlo import operations
from omnisat_jax.config import schema
from omnisat_jax.losses import infonce_ring as ring
from omnisat_jax.losses.infonce import Comparison, infonce_loss
from omnisat_jax.parallel.mesh import make_mesh

ring._CHUNK_ELEMENTS, ring._CHUNK_ROWS = 2_000, 16  # several chunks a block, the last one not full


@functools.cache
def program(name, devices, group, dtype, patches):
    """(value, accuracy) and gradients as a compiled function of embeddings, temperature, presence and copies."""
    if name == "dense":
        loss = infonce_loss
    else:
        loss = functools.partial(ring.ring_infonce_loss, mesh=make_mesh(schema.MeshConfig(1, -1, 2 if devices > 1 else 1, 0), jax.devices()[:devices]))

    def call(z, temperature, present, copies):
        return loss(z, present, temperature, Comparison(group), copies=copies)

    arguments = ((3, 8, patches, 6), dtype), ((), "float32"), ((3, 8), bool), ((3, 3, 8), bool)
    step = jax.jit(jax.value_and_grad(call, argnums=(0, 1), has_aux=True))
    return step.lower(*(jax.ShapeDtypeStruct(*each) for each in arguments)).compile()


def compare(devices, group, dtype, patches, present, seed):
    """Largest deviations of value, accuracy and gradients, and what travels around the ring."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((3, 3, 8)) < 0.2
    copies = jnp.asarray(drawn | drawn.swapaxes(0, 1))
    z = rng.normal(size=(3, 8, patches, 6)).astype(np.float32)
    z = jnp.asarray(z / np.linalg.norm(z, axis=-1, keepdims=True)).astype(dtype)
    around, found = program("ring", devices, group, dtype, patches), {}
    for name, compiled in (("dense", program("dense", 1, group, dtype, patches)), ("ring", around)):
        (value, accuracy), (dz, dt) = compiled(z, jnp.float32(0.1), present, copies)
        found[name] = (value, accuracy, np.asarray(dz, np.float32), dt)
    sent = totals(operations(around.as_text()))["collective-permute"]
    (a, p, da, ta), (b, q, db, tb) = found["dense"], found["ring"]
    return {
        "value": float(abs(a - b) / max(abs(a), 1e-6)),
        "accuracy": float(abs(p - q)),
        "gradient": float(np.abs(da - db).max() / max(np.abs(da).max(), 1e-6)),
        "temperature": float(abs(ta - tb) / max(abs(ta), 1e-6)),
        "sent": sent,  # bytes around the ring, per device
    }


def main():
    """Combinations of devices, groups and types, and random patterns of presence."""
    rng = np.random.default_rng(0)
    report, every = [], sys.argv[1:] == ["all"]
    for devices in (1, 2, 4, 8):
        first = {1: 0, 2: 2, 4: 4, 8: 0}[devices]  # on two devices each has two groups, on four and eight they are whole or cut
        for group in (0, 2, 4) if devices > 2 or every else (first,):
            # Rounding does not depend on the group: each number of devices tries it with one.
            for dtype in ("float32", "bfloat16") if group == first else ("float32",):
                present = jnp.asarray(rng.random((3, 8)) > 0.3)
                case = {"devices": devices, "group": group, "dtype": dtype, "patches": 5}
                report.append(case | compare(devices, group, jnp.dtype(dtype), 5, present, 0))
    for seed, share in enumerate((0.0, 0.2, 0.5, 1.0)):  # nothing present, lone views, padding tiles, everything; rows are tiles
        present = jnp.asarray(rng.random((3, 8)) < share).at[:, 7].set(False)
        case = {"devices": 4, "group": 0, "dtype": "float32", "patches": 1}
        report.append(case | compare(4, 0, jnp.float32, 1, present, seed))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
