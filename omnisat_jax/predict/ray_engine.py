"""The blocks of a map computed by processes of Ray, on one machine or a cluster whose machines share the folders.

What is on the disk is the only truth, as with shards: a process that dies is started again and goes on where its blocks end.
"""

import concurrent.futures
import dataclasses
import logging
import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from omnisat_jax.cli.progress import progress_bar
from omnisat_jax.errors import UserError, reason
from omnisat_jax.inference.model import Model
from omnisat_jax.predict.folder import MapFolder
from omnisat_jax.predict.memory import bounded_cache
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.plan import make_plan
from omnisat_jax.predict.region import Region
from omnisat_jax.predict.run import READERS, write_blocks
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

AT_ONCE = 4  # blocks that a process gets, so that it reads the next while it computes one


@dataclasses.dataclass(frozen=True)
class Job:
    """What is computed. Every process gets a copy.

    Attributes:
      load: returns the model; called once in each process.
      region: the inputs.
      out: folder of the map.
      options: how it is made.
      workers: processes; 0 = one per accelerator of the cluster, or one.

    Raises:
      UserError: fewer than 0 workers.
    """

    load: Callable[[], Model]
    region: Region
    out: StrPath
    options: PredictOptions
    workers: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError(f"--workers: expected a number of processes, found {self.workers}")


class Predictor:
    """A process that computes blocks: it loads the model once, and reads and writes by itself."""

    def __init__(self, job: Job):
        self._job, self._ready = job, None

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
        """Computes the blocks whose places are given.

        Returns:
          For each block "" or, once something has failed, the sentence that says what.
        """
        wanted = set(zip(batch["row"].tolist(), batch["column"].tolist()))
        try:
            self._compute(wanted)
        except UserError as error:
            return {"error": [str(error)] * len(wanted)}
        return {"error": [""] * len(wanted)}

    def _compute(self, wanted: set[tuple[int, int]]) -> None:
        with bounded_cache():
            self._ready = self._ready or self._prepare()
            folder, plan, model, pool = self._ready
            # A block may have been finished by a process that died before it could say so.
            todo = [block for block in plan.grid.blocks() if (block.row, block.column) in wanted and not folder.file(block).exists()]
            for _ in write_blocks(folder, plan, todo, model, pool):
                pass

    def _prepare(self):
        job, pool = self._job, concurrent.futures.ThreadPoolExecutor(READERS, "read")
        model, folder = job.load(), MapFolder.open(job.out)
        plan = make_plan(model, job.region, job.options, pool)
        if plan.info.fingerprint != folder.info.fingerprint:
            raise UserError(f"{folder.path}: expected the same model and files on every machine, found others; see whether all of them share the folders")
        return folder, plan, model, pool


def make_map_with_ray(job: Job, console: Console | None = None) -> MapFolder:
    """Makes the blocks of a map, or the missing ones of an unfinished map, as `run.make_map` does: the files are equal.

    An initialized Ray is used as it is. Otherwise RAY_ADDRESS names a cluster; without it, Ray is started on this machine and ended afterwards.

    Args:
      job: what is computed.
      console: for the progress bar.

    Returns:
      The complete folder.

    Raises:
      UserError: see `run.make_map`; or Ray is not installed, cannot be started, or gave up.
    """
    ray = _import_ray()
    with bounded_cache(), concurrent.futures.ThreadPoolExecutor(READERS, "read") as pool:
        plan = make_plan(job.load(), job.region, job.options, pool)
    folder = MapFolder.start(job.out, plan.info)
    missing, total = folder.missing(), sum(1 for _ in plan.grid.blocks())
    with progress_bar(console or Console(quiet=True)) as bar:
        task = bar.add_task("mapping", total=total, completed=total - len(missing))
        if missing:
            job = dataclasses.replace(job, out=folder.path.resolve())
            for error in _run(ray, job, [{"row": block.row, "column": block.column} for block in missing]):
                if error:
                    raise UserError(error)
                bar.advance(task)
    left = len(folder.missing())
    if left:
        raise UserError(f"{folder.path}: expected a finished map, found {number_of(left, 'block')} missing; run the same command again to finish it")
    return folder


def _import_ray() -> Any:
    before = signal.getsignal(signal.SIGTERM)
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(f'--engine ray needs {error.name or "ray"}; install it with pip install "omnisat-jax[ray]"') from error
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)  # Ray sets its own
    return ray


def _run(ray: Any, job: Job, items: Sequence[Mapping[str, int]]) -> Iterator[str]:
    """Yields "" for each block that is done, or a sentence about what has failed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    mine = not ray.is_initialized()
    try:
        if mine:
            _start(ray, job.workers)
        accelerators = ray.cluster_resources().get("GPU", 0)
        workers = min(job.workers or int(accelerators) or 1, len(items))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        data = ray.data.from_items(list(items), override_num_blocks=math.ceil(len(items) / AT_ONCE)).map_batches(
            Predictor, fn_constructor_args=(job,), batch_size=None, batch_format="numpy", compute=ray.data.ActorPoolStrategy(size=workers),
            num_gpus=min(1.0, accelerators / workers),
        )  # fmt: skip
        for row in data.iter_rows():
            yield row["error"]
    except (ray.exceptions.RayError, ConnectionError, TimeoutError) as error:
        raise UserError(f"--engine ray: expected Ray to compute the blocks, found a failure ({reason(error)}); run the same command again to go on") from error
    finally:
        if mine:
            ray.shutdown()


def _start(ray: Any, workers: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        ray.init(include_dashboard=False, num_cpus=max(workers + 1, os.cpu_count() or 1), _node_ip_address="127.0.0.1", **quiet)
