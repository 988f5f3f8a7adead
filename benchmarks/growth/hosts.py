"""A run of one, two or four processes on this machine with the same global batch: when the first step is done, and what each process reads."""

import contextlib
import io
import multiprocessing
import os
import pathlib
import re
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from benchmarks.growth.powers import Cost, Growth, announce
from benchmarks.growth.tiles import make_tiles, prepare_tiles
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.parallel.compilation import as_flags, unoptimised
from omnisat_jax.records.frames import FrameStore
from omnisat_jax.train import timing
from omnisat_jax.words import number_of

DEVICES = 4  # emulated, which the processes share
BATCH = 8  # tiles per step, of all processes together
LIMIT = 1800  # s


class Host(NamedTuple):
    """What one process of a run does.

    Attributes:
      seconds: from its start to its second request for a batch, when the first step has been handed to the devices.
      cpu: CPU seconds until then.
      mib: bytes of frames that it reads in the whole run, in MiB.
      peak: of its resident memory, MiB.
    """

    seconds: float
    cpu: float
    mib: float
    peak: float


def run_host(arguments: Sequence[str], started: float, devices: int, answers: Any) -> None:
    """Runs launch.py as one process of a run, and sends what it does.

    Args:
      arguments: of launch.py.
      started: time.time() when the process was started.
      devices: emulated ones of this process.
      answers: queue that takes a `Host`.
    """
    os.environ["XLA_FLAGS"] = f"{as_flags(unoptimised())} --xla_force_host_platform_device_count={devices}"
    marks, sizes = [], []
    next_batch, read_into = timing.Ledger.next_batch, FrameStore.read_into

    def marking(ledger: timing.Ledger, batches: Any, previous: Any) -> Any:
        marks.append((time.time() - started, time.process_time()))
        return next_batch(ledger, batches, previous)

    def counting(store: FrameStore, position: int, out: np.ndarray) -> None:
        sizes.append(out.nbytes)
        read_into(store, position, out)

    import launch  # it answers signals from here on

    sys.argv = ["launch.py", *arguments]  # where the options of configurations are looked for
    with (
        mock.patch.object(timing.Ledger, "next_batch", marking),
        mock.patch.object(FrameStore, "read_into", counting),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        code = run_command(launch.program, sys.argv)
    peak = re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())
    if code or not peak:
        answers.put(code)
        return
    seconds, cpu_seconds = marks[1]
    answers.put(Host(seconds, cpu_seconds, sum(sizes) / 2**20, int(peak[1]) / 1024))


def start_run(records: pathlib.Path, folder: pathlib.Path, processes: int, steps: int) -> list[Host]:
    """Fine-tunes a small model by several processes; returns what each of them does.

    Args:
      records: folder of records of simulated PASTIS-HD.
      folder: of the run, which must not exist.
      processes: their number, which divides the number of devices.
      steps: of fine-tuning.
    """
    changes = {
        "data.prepared_dir": records, "data.cache_dir": folder / "cache", "data.crop": 0, "modalities.s2.encoder": "patch_ltae",
        "modalities.s2.dates_train": 4, "finetune.batch_size": BATCH, "finetune.steps": steps, "finetune.save_every": steps,
        "finetune.eval_every": 0, "model.head.unimodal": "none", "segmentation.unimodal_weight": 0.0,
    }  # fmt: skip
    flags = ["--config=configs/pastis.py:s2_only,no_pretrain", f"--workdir={folder / 'run'}", "--stage=finetune", "--compilation_cache="]
    flags += [f"--config.{key}={value}" for key, value in changes.items()]
    if processes > 1:
        flags += [f"--coordinator=127.0.0.1:{_free_port()}", f"--num_processes={processes}"]
    context = multiprocessing.get_context("spawn")
    answers, hosts = context.Queue(), []
    for index in range(processes):
        own = [f"--process_id={index}"] if processes > 1 else []
        hosts.append(context.Process(target=run_host, args=([*flags, *own], time.time(), DEVICES // processes, answers), daemon=True))
        hosts[-1].start()
    found = [answers.get(timeout=LIMIT) for _ in hosts]
    for host in hosts:
        host.join()
    failed = [answer for answer in found if not isinstance(answer, Host)]
    if failed:
        raise UserError(f"hosts: expected {processes} processes to end with exit code 0, found {failed[0]}")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def measure(counts: Sequence[int], folder: pathlib.Path, steps: int) -> tuple[list[Growth], list[str]]:
    """Measures runs of several numbers of processes.

    Args:
      counts: numbers of processes, ascending.
      folder: of the tiles and the runs.
      steps: of each run.

    Returns:
      CPU seconds until the first step and peak memory, of all processes together; and a sentence on each number of processes.
    """
    raw, records = folder / "100_tiles" / "raw", folder / "100_tiles" / "records"
    if not raw.is_dir():
        make_tiles(raw, 100)
    if not records.is_dir():
        prepare_tiles(str(raw), str(records))
    costs, notes = {}, []
    for count in counts:
        shutil.rmtree(folder / f"{count}_hosts", ignore_errors=True)  # of an earlier start
        hosts = start_run(records, folder / f"{count}_hosts", count, steps)
        costs[count] = announce("first step", count, "processes", Cost(sum(host.cpu for host in hosts), sum(host.peak for host in hosts)))
        read, seconds = ", ".join(f"{host.mib:.2f}" for host in hosts), max(host.seconds for host in hosts)
        notes.append(f"{number_of(count, 'process')}: first step after {seconds:.0f} s; MiB of frames read by each in {number_of(steps, 'step')}: {read}")
    return [Growth("start to first step, all processes", "processes", costs)], notes
