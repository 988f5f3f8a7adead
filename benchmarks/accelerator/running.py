"""Starts the processes of `benchmarks.accelerator` and gives them the device one at a time."""

import dataclasses
import json
import os
import pathlib
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.accelerator.jobs import Job
from omnisat_jax.files.atomic import write_json

ROOT = pathlib.Path(__file__).parents[2]


class Running:
    """Processes that compile side by side, at most `parallel` at a time, in the order of `jobs`.

    Attributes:
      jobs: what is run.
      folder: of the results and logs.
      parallel: processes that may compile at the same time.
    """

    def __init__(self, jobs: Sequence[Job], folder: pathlib.Path, parallel: int):
        self.jobs, self.folder, self.parallel = list(jobs), folder, parallel
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def compile_all(self, deadline: float) -> None:
        """Returns when every job is compiled or has failed, or at the deadline (of time.monotonic), when the others are killed.

        Jobs of parity run to their end meanwhile: they are not timed.
        """
        waiting, selector, busy = list(self.jobs), selectors.DefaultSelector(), 0
        while (waiting or busy) and time.monotonic() < deadline:
            while waiting and busy < self.parallel:
                job = waiting.pop(0)
                process = self._start(job)
                assert process.stdout
                selector.register(process.stdout, selectors.EVENT_READ, job)
                busy += 1
            for key, _ in selector.select(max(0.0, min(5.0, deadline - time.monotonic()))):
                line = key.fileobj.readline()  # pyright: ignore[reportAttributeAccessIssue]  a text stream
                if line.strip() == "ready" or not line:
                    selector.unregister(key.fileobj)
                    busy -= 1
        for key in list(selector.get_map().values()):
            self._processes[key.data.name].kill()
        selector.close()

    def _start(self, job: Job) -> "subprocess.Popen[str]":
        path = self.folder / f"{job.name}.job.json"
        write_json(path, dataclasses.asdict(job))
        environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        with open(self.folder / f"{job.name}.log", "w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.accelerator.child", str(path), str(self.folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, env=environment,
            )
        self._processes[job.name] = process
        return process

    def finish(self, job: Job, deadline: float) -> None:
        """Lets a compiled job use the device until it ends or the deadline is reached."""
        process = self._processes.get(job.name)
        if process is None or process.poll() is not None:
            return
        try:
            process.communicate("go\n", timeout=max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def main_job(folder: pathlib.Path, limit: float) -> dict[str, Any]:
    """Runs the main job from nothing; its seconds, those by cause, and its scores."""
    return _launch(["--config=configs/pastis.py", f"--config.data.cache_dir={folder / 'cache'}"], folder / "main_job", limit)


def run_input(preset: str, tiles: int, batch_size: int, folder: pathlib.Path, limit: float) -> dict[str, Any]:
    """Fine-tunes a preset for some steps on simulated tiles of full size; what is of interest is the time spent waiting for data.

    Args:
      preset: of configs/pastis.py.
      tiles: that are simulated.
      batch_size: tiles per step.
      folder: of the results.
      limit: seconds after which it is ended.
    """
    changes = {
        "data.cache_dir": str(folder / "cache"), "data.simulated.tiles": tiles, "data.threads": 16, "data.buffer": 8, "pretrain.steps": 0,
        "finetune.steps": 60, "finetune.batch_size": batch_size, "finetune.eval_every": 0, "finetune.save_every": 60, "eval.calibrate": False, "eval.panels": 0,
    }
    return _launch([f"--config=configs/pastis.py:{preset}", *(f"--config.{key}={value}" for key, value in changes.items())], folder / "input", limit)


def _launch(arguments: Sequence[str], workdir: pathlib.Path, limit: float) -> dict[str, Any]:
    start, code, output = time.monotonic(), None, workdir.with_suffix(".log")
    with open(output, "w") as log:
        process = subprocess.Popen([sys.executable, "launch.py", *arguments, f"--workdir={workdir}"], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    found: dict[str, Any] = {"seconds": round(time.monotonic() - start, 1), "exit_code": code, "output": output.read_text(errors="replace")[-3000:].splitlines()}
    for path in workdir.rglob("run.json"):
        record = json.loads(path.read_text())
        found |= {key: record.get(key) for key in ("device", "precision")} | {"stages": record.get("seconds")}
    for path in workdir.rglob("results.json"):
        subsets = json.loads(path.read_text())["subsets"]
        found["scores"] = {"+".join(subset["modalities"]): {key: subset["scores"][key] for key in ("miou", "oa")} for subset in subsets}
    return found
