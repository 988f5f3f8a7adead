"""One sentence instead of a traceback where a command is run without the libraries of its extra."""

import os
import sys
from types import TracebackType

from omnisat_jax.cli import signals
from omnisat_jax.errors import UserError

PACKAGE = "omnisat_jax"


def missing_library(error: BaseException, module: str) -> UserError | None:
    """What to install for the command in `module`, such as omnisat_jax.predict; None if `error` is not a library of an extra that cannot be found."""
    if not isinstance(error, ModuleNotFoundError) or not error.name or error.name.partition(".")[0] == PACKAGE:
        return None
    extra = "predict" if f"{module}.".startswith(f"{PACKAGE}.predict.") else "train"
    return UserError(f"this command needs {error.name}: pip install 'omnisat-jax[{extra}]'")


def listen() -> None:
    """Prints the sentence if what `python -m` names cannot be imported, from now on until the process ends."""
    arguments = sys.orig_argv
    module = next((after for before, after in zip(arguments, arguments[1:]) if before == "-m"), "")
    usual = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        known = None if os.environ.get(signals.DEBUG) else missing_library(error, module)
        if known is None:
            usual(kind, error, traceback)
        else:
            signals.say(str(known), "error")

    sys.excepthook = hook
