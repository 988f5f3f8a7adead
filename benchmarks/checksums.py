"""What the checksums of a checkpoint cost: seconds to save and to restore a state with and without them.

    python -m benchmarks.checksums [--gigabytes=1] [--arrays=300] [--repeats=5] [--folder=DIR]

Measured: a save until everything is on disk, and a restore into memory, medians over the repeats, which alternate between the two. `hashing` is the
time to compute the checksums of the state alone. The files may still be in the page cache when they are restored.
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.parallel import rules
from omnisat_jax.train import checkpoints as checkpointing, checksums
from omnisat_jax.types import PyTree


def seconds(function: Callable[[], Any]) -> float:
    """The duration of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@contextlib.contextmanager
def without_checksums() -> Iterator[None]:
    """Checksums are neither computed nor compared while the body runs."""
    with mock.patch.object(checksums, "of_state", lambda state: {}), mock.patch.object(checksums, "differing", lambda *_: []):
        yield


def measure(folder: pathlib.Path, state: PyTree, abstract: PyTree) -> dict[str, float]:
    """Seconds of one save and one restore."""
    checkpoints = checkpointing.Checkpoints(folder, keep=1, meta={"data": {}})
    checkpoints._proven = True  # the first checkpoint of a run is also read back, once: that is not a cost of each save

    def save():
        checkpoints.save(1, state)
        checkpoints.wait()

    def restore():
        jax.block_until_ready(checkpoints.restore(1, abstract))

    found = {"save": seconds(save), "restore": seconds(restore)}
    checkpoints.close()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line of JSON."""
    parser = Parser(prog="python -m benchmarks.checksums", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the state")
    parser.add_argument("--arrays", type=int, default=300, help="number of its arrays")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", default=None, help="where to write; default: a temporary folder")
    options = parser.parse_args(arguments)
    size = int(options.gigabytes * 1e9 / 4 / options.arrays)
    state = {f"array{i}": jax.random.normal(jax.random.key(i), (size,), jnp.float32) for i in range(options.arrays)}
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = rules.abstract_like(state, jax.tree.map(lambda _: here, state))
    variants = {"with": contextlib.nullcontext, "without": without_checksums}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        for repeat in range(options.repeats):
            for name, context in variants.items():
                with context():
                    times[name].append(measure(pathlib.Path(root) / f"{name}{repeat}", state, abstract))
    medians = {name: {what: statistics.median(one[what] for one in found) for what in ("save", "restore")} for name, found in times.items()}
    found = {
        "gigabytes": options.gigabytes,
        "device": jax.devices()[0].device_kind,
        "seconds": medians,
        "ratios": {what: medians["with"][what] / medians["without"][what] for what in ("save", "restore")},
        "hashing": seconds(lambda: checksums.of_state(state)),
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
