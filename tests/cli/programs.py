"""Programs that run in a process of their own."""

import subprocess
import sys

from tests.conftest import ROOT

HEAD = "import sys\nfrom omnisat_jax.cli import signals\nfrom omnisat_jax.cli.command import run_command\nsignals.listen()\n"


def python(code, **options):
    """Runs code that may use `sys`, `signals` and `run_command`; stdout and stderr are captured."""
    return subprocess.run([sys.executable, "-c", HEAD + code], cwd=ROOT, **({"capture_output": True, "text": True} | options))
