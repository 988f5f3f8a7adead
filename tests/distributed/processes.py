"""Real processes of launch.py on emulated CPU devices."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

import jax
import numpy as np
import orbax.checkpoint as ocp

from tests import forks
from tests.conftest import QUICK, ROOT

LIMIT = 600  # seconds after which a process counts as hanging; compiling on a busy machine takes minutes
# JAX has read its environment before the process is forked.
KEEP_ALL = "import jax; jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)"
# The process signals itself, so that the signal comes at the same step on any machine.
SIGNAL = """
import os
from omnisat_jax.train.writers import MetricsWriter
write = MetricsWriter.write
def signalling(self, step, values):
    write(self, step, values)
    if self._stage == "finetune" and step == {1}:
        os.kill(os.getpid(), {0})
MetricsWriter.write = signalling
"""
# Python announces every file before it creates or renames it; the process dies just before the one that matches.
KILL = """
import os, re, signal, sys
def killing(event, arguments):
    path = arguments[1] if event == "os.rename" else arguments[0] if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) else ""
    if isinstance(path, (str, os.PathLike)) and re.search({0!r}, os.fspath(path)):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(killing)
"""


@dataclasses.dataclass(frozen=True)
class How:
    """How a run is started.

    Attributes:
      processes: their number.
      devices: emulated devices that they share.
      extra: flags for all processes.
      each: {process: flags for it alone}.
      before: Python source that every process runs first.
      signals: {process: (signal, step)} that it sends itself when that step of fine-tuning is reported.
      pretrain: whether the run pre-trains.
      stage: the last one of the run, or "all"; by default that of the launcher.
      stderr: as of `subprocess.Popen`, by default together with stdout.
      fresh: whether new interpreters import everything, instead of forks of one that has.
    """

    processes: int = 1
    devices: int = 4
    extra: Sequence[str] = ()
    each: Mapping[int, Sequence[str]] = dataclasses.field(default_factory=dict)
    before: str = ""
    signals: Mapping[int, tuple[int, int]] = dataclasses.field(default_factory=dict)
    pretrain: bool = False
    stage: str = ""
    stderr: int = subprocess.STDOUT
    fresh: bool = False


class Launcher:
    """Starts runs of one configuration; their programs are compiled once.

    Attributes:
      raw, cache: folders of the raw and the prepared data.
      programs: folder of compiled programs.
      stage: the last one of its runs, where they do not name another.
    """

    def __init__(self, raw, cache, programs, stage="all"):
        self.raw, self.cache, self.programs, self.stage = raw, cache, programs, stage

    def start(self, workdir, **how):
        """Starts the processes of one run; `how` has the fields of `How`."""
        how, port = How(**how), free_port()
        children = []
        for index in range(how.processes):
            flags = [
                f"--config=tests/distributed/small_run.py:{self.raw},{self.cache}{',pretrain' if how.pretrain else ''}",
                f"--workdir={workdir}",
                f"--compilation_cache={self.programs}",
                f"--stage={how.stage or self.stage}",
                *how.extra,
                *how.each.get(index, ()),
            ]
            if how.processes > 1:
                flags += [f"--coordinator=127.0.0.1:{port}", f"--num_processes={how.processes}", f"--process_id={index}"]
            environment = os.environ | {
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": f"{QUICK} --xla_force_host_platform_device_count={how.devices // how.processes}",
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
            own = SIGNAL.format(*map(int, how.signals[index])) if index in how.signals else ""
            source = program(f"{how.before}\n{own}", ["launch.py", *flags])
            if how.fresh:
                command, pipes = [sys.executable, "-c", source], {"stdout": subprocess.PIPE, "stderr": how.stderr, "text": True}
                children.append(subprocess.Popen(command, cwd=ROOT, env=environment, process_group=0, **pipes))  # a test may signal all of it
            else:
                children.append(forks.Fork(f"{KEEP_ALL}\n{source}", env=environment, stderr=how.stderr, process_group=True))
        return children

    def programs_of(self, name):
        """The compiled programs of that name in the cache."""
        return {path.name for path in pathlib.Path(self.programs).iterdir() if name in path.name and path.name.endswith("-cache")}

    def run(self, workdir, code=0, **how):
        """Starts and waits; returns the output of every process.

        Raises:
          AssertionError: a process that hangs, or that ends otherwise than with `code`.
        """
        return finish(self.start(workdir, **how), code)


def program(before, argv, end="sys.exit"):
    """Source of a process that runs `before` and then what launch.py runs; "os._exit" ends a fork without taking apart all that was imported."""
    return f"""
import os, sys
from omnisat_jax.cli import signals
signals.listen()
sys.argv = {argv!r}
{before}
import launch
from omnisat_jax.cli.command import run_command
{end}(run_command(launch.program, sys.argv))
"""


def finish(children, code=0):
    """Waits for processes and returns their output."""
    try:
        outputs = [child.communicate(timeout=LIMIT)[0] for child in children]
    finally:
        for child in children:
            child.kill()
    for child, output in zip(children, outputs):
        assert child.returncode == code, f"exit code {child.returncode}:\n{output[-3000:]}"
    return [" ".join(output.split()) for output in outputs]  # without the line breaks of the terminal


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rows(workdir):
    """metrics.jsonl without what depends on the clock."""
    lines = (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in ("examples_per_second", "teraflops")} for line in lines
    ]


def state(workdir, stage="finetune", step=8):
    """The arrays of a checkpoint on the host, by name, wherever they lay."""
    path = (pathlib.Path(workdir) / stage / "checkpoints" / str(step) / "state").resolve()
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    tree = ocp.Checkpointer(ocp.StandardCheckpointHandler()).restore(path, args=ocp.args.StandardRestore(fallback_sharding=here))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def assert_same(a, b):
    """Two checkpoints are equal bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
