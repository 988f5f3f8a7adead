"""What the checksums of a state cost when it is saved and restored.

python -m benchmarks.checksums [--gigabytes 1] [--arrays 300] [--folder DIR]
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import sys
import tempfile
import time
from unittest import mock

import jax
import jax.numpy as jnp

from omnisat_jax.cli.command import run_command
from omnisat_jax.parallel import rules
from omnisat_jax.train import checkpoints as checkpoint
from omnisat_jax.train import checksums


def seconds(function):
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@contextlib.contextmanager
def without():
    """Neither computed nor compared."""
    with mock.patch.object(checksums, "of_state", lambda state: {}), mock.patch.object(checksums, "differing", lambda *_: []):
        yield


def measure(folder, state, abstract):
    """Seconds of one save, everything on disk, and of one restore."""
    checkpoints = checkpoint.Checkpoints(folder, keep=1, meta={"data": {}})
    checkpoints._proven = True  # the first checkpoint of a run is read back as well: once, not a cost of each save

    def save():
        checkpoints.save(1, state)
        checkpoints.wait()

    def restore():
        jax.block_until_ready(checkpoints.restore(1, abstract))

    found = {"save": seconds(save), "restore": seconds(restore)}
    checkpoints.close()
    return found


def main():
    """Prints one line of JSON: medians over the repeats, which take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--arrays", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", default=None, help="where to write; default a temporary one")
    options = parser.parse_args()
    size = int(options.gigabytes * 1e9 / 4 / options.arrays)
    state = {f"array{i}": jax.random.normal(jax.random.key(i), (size,), jnp.float32) for i in range(options.arrays)}
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = rules.abstract_like(state, jax.tree.map(lambda _: here, state))
    times = {"with": [], "without": []}
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        for repeat in range(options.repeats):
            for kind in times:
                with without() if kind == "without" else contextlib.nullcontext():
                    times[kind].append(measure(pathlib.Path(root) / f"{kind}{repeat}", state, abstract))
    medians = {kind: {what: statistics.median(one[what] for one in found) for what in ("save", "restore")} for kind, found in times.items()}
    hashing = seconds(lambda: checksums.of_state(state))
    print(json.dumps({"gigabytes": options.gigabytes, "device": jax.devices()[0].device_kind, "seconds": medians, "hashing": hashing}))


if __name__ == "__main__":
    sys.exit(run_command(main))
