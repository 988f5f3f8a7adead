"""python -m omnisat_jax.predict"""

import sys

from omnisat_jax.cli import signals
from omnisat_jax.cli.command import run_command

if __name__ == "__main__":
    signals.listen()
    from omnisat_jax.predict.command import main

    sys.exit(run_command(main))
