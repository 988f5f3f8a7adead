"""A forked process is one of its own: pipes, exit code, signals, environment and state."""

import os
import signal
import subprocess

import pytest

from tests import forks


def test_pipes_and_exit_code():
    done = forks.run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    both = forks.Fork("import atexit; atexit.register(print, 'last'); 1 / 0", stderr=subprocess.STDOUT)
    out, err = both.communicate()
    assert both.returncode == 1 and err is None and "ZeroDivisionError" in out and out.endswith("last\n")


def test_signals():
    waiting = forks.Fork("import signal; print('up', flush=True); signal.pause()")
    assert waiting.stdout.readline() == "up\n" and waiting.poll() is None
    waiting.send_signal(signal.SIGTERM)
    waiting.communicate()
    assert waiting.returncode == -signal.SIGTERM
    endless = forks.Fork("import signal; signal.pause()")
    with pytest.raises(subprocess.TimeoutExpired):
        endless.communicate(timeout=0.01)
    assert endless.returncode == -signal.SIGKILL


def test_nothing_is_shared(tmp_path):
    code = "import os, sys, jax\nprint(os.getcwd(), os.environ.get('A'), getattr(jax, 'mark', 0), os.getpgid(0) == os.getpid())\njax.mark = 1"
    for value in "xy":
        done = forks.run(code, cwd=tmp_path, env=os.environ | {"A": value}, process_group=True)
        assert done.stdout == f"{tmp_path} {value} 0 True\n", done.stderr


def test_a_module_runs_with_its_arguments(tmp_path):
    (tmp_path / "said.json").write_text('{"a": [1]}')
    assert forks.run(forks.module("json.tool", "--compact", tmp_path / "said.json")).stdout == '{"a":[1]}\n'
