"""Ctrl-C and SIGTERM in every stage: one sentence, the promised exit code, no process left behind, and the same command goes on."""

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from tests import forks
from tests.conftest import ROOT
from tests.distributed.processes import LIMIT, Launcher, program

CODES = {signal.SIGINT: 130, signal.SIGTERM: 75}
# One handler is behind the first two.
ENDING = [pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive), signal.SIGTERM, signal.SIGKILL]
# Where a process signals its whole group, as a terminal does. {module: function}; the second call of a function is in the middle of its stage.
SEND = """
import importlib, os
def send(*arguments):
    os.killpg(0, {number})
module, name = {place!r}.split(":")
if name:
    module = importlib.import_module(module)
    *owner, name = name.split(".")
    for part in owner:
        module = getattr(module, part)
    there, calls = getattr(module, name), []
    def sending(*arguments, **more):
        calls.append(name)
        if len(calls) == {call}:
            send()
        return there(*arguments, **more)
    setattr(module, name, sending)
else:
    class Finder:
        def find_spec(self, found, path=None, target=None):
            if found == module:
                sys.meta_path.remove(self)
                send()
    sys.meta_path.insert(0, Finder())
"""
STAGES = {
    "importing": ("jax:", 1),
    "reading the configuration": ("omnisat_jax.config.schema:parse", 1),
    "simulating": ("data.pastis.simulated:np.save", 5),
    "preparing": ("data.preparation.builder:FrameWriters.take", 3),
    "compiling": ("jax.stages:Lowered.compile", 1),
    "training": ("omnisat_jax.train.writers:MetricsWriter.write", 3),
    "evaluating": ("omnisat_jax.experiment.scoring:all_subsets", 1),
    "writing": ("omnisat_jax.report.results:tables.markdown", 1),
}


def ended(child, code):
    """The stdout of a process whose stderr is one sentence. Both pipes have ended, so no other process holds them any more."""
    try:
        out, err = child.communicate(timeout=LIMIT)
    finally:
        child.kill()
    assert child.returncode == code, f"exit code {child.returncode}:\n{out[-1500:]}\n{err[-3000:]}"
    assert "Traceback" not in out + err
    lines = err.splitlines()
    assert (len(lines) == 1 and lines[0].startswith("stopped: ")) if code else not lines, err
    return out


# Ctrl-C is tried where Python is importing, where workers run, in the compiler, in the loop and after it.
@pytest.mark.parametrize(
    ("number", "stages"),
    [
        (signal.SIGTERM, ("importing", "simulating", "compiling", "training", "writing")),
        pytest.param(signal.SIGTERM, tuple(STAGES), marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGINT, ("importing", "preparing", "compiling", "training", "evaluating"), marks=pytest.mark.exhaustive),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else str(len(value)),
)
def test_every_stage_of_a_run(number, stages, tmp_path):
    """In one folder, each start is ended one stage later than the one before, and the last one finishes."""
    launcher = Launcher("", tmp_path / "cache", tmp_path / "programs")
    how = {"devices": 1, "stderr": subprocess.PIPE, "extra": ["--config.data.simulated.tiles=10", "--config.data.simulated.tile_size=16"]}
    for stage in stages:
        place, call = STAGES[stage]
        before = SEND.format(number=int(number), place=place, call=call)
        (child,) = launcher.start(tmp_path / "run", before=before, fresh=stage == "importing", **how)
        ended(child, CODES[number])
        assert not (tmp_path / "run" / "evaluate" / "done.json").exists(), stage
    (child,) = launcher.start(tmp_path / "run", **how)
    out = ended(child, 0)
    assert "finetune: finished before" in out and (tmp_path / "run" / "model" / "config.json").is_file()


@pytest.mark.exhaustive
def test_several_processes_end_together(simulated, tmp_path):
    launcher = Launcher(simulated, tmp_path / "cache", tmp_path / "programs")
    before = SEND.format(number=int(signal.SIGTERM), place="omnisat_jax.experiment.scoring:all_subsets", call=1)
    for child in launcher.start(tmp_path / "run", processes=2, devices=2, before=before, stderr=subprocess.PIPE):
        ended(child, 75)
    for child in launcher.start(tmp_path / "run", processes=2, devices=2, stderr=subprocess.PIPE):
        ended(child, 0)


# What holds a process up as a compiler does: a call that no signal interrupts.
STUCK = """
import ctypes, os
from omnisat_jax.config import schema
mutex = ctypes.create_string_buffer(64)
def stuck(config):
    library = ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    print("stuck", flush=True)
    library.pthread_mutex_lock(mutex)
schema.parse = stuck
signals.UNRESPONSIVE = 0.0
"""


@pytest.mark.parametrize("number", list(CODES), ids=lambda number: number.name)
def test_a_call_that_does_not_return_is_not_waited_for(number, tmp_path):
    code = program(STUCK, ["launch.py", "--config=configs/pastis.py", f"--workdir={tmp_path}"])
    child = forks.Fork(code)
    assert child.stdout.readline() == "stuck\n"
    child.send_signal(number)
    ended(child, CODES[number])


PREPARE = """
import sys
sys.argv[1:] = {arguments!r}
from omnisat_jax.cli import signals
signals.listen()
from omnisat_jax.cli.command import run_command
import data.prepare
{before}
if __name__ == "__main__":
    sys.exit(run_command(data.prepare.main, sys.argv[1:]))
"""


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_workers_end_with_their_command(number, simulated, tmp_path):
    arguments = ["pastis", f"--raw={simulated}", f"--out={tmp_path / 'records'}", "--jobs=2"]
    # Only the command itself is killed; Ctrl-C and SIGTERM go to the whole group.
    kill = SEND.replace("os.killpg(0", "os.kill(os.getpid()" if number == signal.SIGKILL else "os.killpg(0")
    for before in (kill.format(number=int(number), place="data.preparation.builder:FrameWriters.take", call=2), ""):
        child = forks.Fork(PREPARE.format(before=before, arguments=arguments), process_group=True)
        if before and number == signal.SIGKILL:
            out, err = child.communicate(timeout=LIMIT)  # ends when the workers have let go of both pipes
            assert child.returncode == -number and not err
        else:
            ended(child, CODES[number] if before else 0)
    assert (tmp_path / "records" / "dataset.json").is_file()


def test_a_killed_worker_is_one_sentence(simulated, tmp_path):
    """As the kernel does where memory is short."""
    kill = """
import os, signal
from data.reading import workers
receive = workers._Pool._receive
def killing(self, timeout):
    receive(self, timeout)
    if len(self._busy) == 2:
        for process in self._workers.values():
            os.kill(process.pid, signal.SIGKILL)
workers._Pool._receive = killing
"""
    arguments = ["pastis", f"--raw={simulated}", f"--out={tmp_path / 'records'}", "--jobs=2"]
    done = forks.run(PREPARE.format(before=kill, arguments=arguments), timeout=LIMIT)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: the process that was working on 100") and "was killed by signal 9" in done.stderr


# A run that signals the study and then trains forever; on SIGTERM it saves, as a real one does.
RUN = """
import os, pathlib, sys
from omnisat_jax.cli import signals
from omnisat_jax.cli.command import run_command
signals.listen()
place = pathlib.Path(next(a for a in sys.argv if a.startswith("--workdir=")).split("=", 1)[1])
place.mkdir(parents=True, exist_ok=True)
def main():
    try:
        os.kill(os.getppid(), {number})
        os.read(os.pipe()[0], 1)  # nobody writes
    finally:
        (place / "saved").touch()
sys.exit(run_command(main))
"""


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_runs_end_with_their_study(number, tmp_path):
    (tmp_path / "run.py").write_text(RUN.format(number=int(number)))
    command = (sys.executable, str(tmp_path / "run.py"))
    player = f"from omnisat_jax.study import runner\nrunner.Launcher.of_program = lambda path: runner.Launcher({command!r}, {str(ROOT)!r})"
    study = str(ROOT / "configs" / "studies" / "encoders.py")
    code = program(player, ["launch.py", f"--study={study}", "--study.seeds=(0,)", f"--workdir={tmp_path / 'study'}"])
    child = forks.Fork(code, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    if number == signal.SIGKILL:
        child.communicate(timeout=LIMIT)
    else:
        ended(child, CODES[number])
    (lock,) = [path for path in (tmp_path / "study").rglob("*.running")]
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # until the run is gone
    assert lock.with_name(lock.name.removesuffix(".running")).joinpath("saved").exists()
    (log,) = (tmp_path / "study" / "logs").iterdir()
    assert log.read_text() == "stopped: terminated (SIGTERM); run the same command again to resume\n"
