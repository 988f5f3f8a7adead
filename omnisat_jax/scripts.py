"""The console scripts of the installed package: thin names for commands that are also run as `python -m`."""

import importlib

from omnisat_jax.cli.command import run_command
from omnisat_jax.cli.extras import missing_library


def report() -> int:
    """`omnisat-report`: python -m omnisat_jax.report."""
    return run_command(_main, "omnisat_jax.report.__main__")


def folds() -> int:
    """`omnisat-folds`: python -m omnisat_jax.report.folds."""
    return run_command(_main, "omnisat_jax.report.folds")


def convert() -> int:
    """`omnisat-convert`: python -m omnisat_jax.interop.convert."""
    return run_command(_main, "omnisat_jax.interop.convert")


def publish() -> int:
    """`omnisat-publish`: python -m omnisat_jax.publish."""
    return run_command(_main, "omnisat_jax.publish")


def export() -> int:
    """`omnisat-export`: python -m omnisat_jax.export."""
    return run_command(_main, "omnisat_jax.export.__main__")


def predict() -> int:
    """`omnisat-predict`: python -m omnisat_jax.predict."""
    return run_command(_main, "omnisat_jax.predict.command")


def _main(module: str) -> int:
    """Imports a module and calls its main function, so that Ctrl-C during the import is handled as well.

    Raises:
      UserError: a library of the extra that the command needs is not installed.
    """
    try:
        main = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        if (sentence := missing_library(error, module)) is None:
            raise
        raise sentence from error
    return main()
