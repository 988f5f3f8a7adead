"""Entry point shared by all commands. A command returns 0, or prints one sentence and returns an exit code.

    if __name__ == "__main__":
        sys.exit(run_command(main))
"""

import contextlib
import errno
import io
import logging
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from omnisat_jax.cli import signals
from omnisat_jax.cli.signals import DEBUG, Terminated
from omnisat_jax.errors import UserError, printable, reason, system_reason, system_sentence

FAILED = 1  # exit code
NO_SPACE = "No space left on device"
RESUME = "run the same command again to resume"
SPACE = f"free some space, then {RESUME}"


def run_command(main: Callable[..., int | None], *arguments: Any) -> int:
    """Runs `main(*arguments)` and returns the exit code of the process.

    Every failure is one sentence on stderr. Failures that users can cause are `UserError`s, errors of the operating system, signals and lack of
    memory. Everything else is reported as a bug, with the file that holds its traceback.

    Args:
      main: the command; returns an exit code, or None for 0.
      arguments: arguments of `main`.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        with contextlib.suppress(ValueError):  # characters that the terminal cannot show are escaped, such as \xe4
            sys.stdout.reconfigure(errors="backslashreplace")
    with signals.listening() as listener, _silenced_threads(listener.permanent) as suppressed:
        code, text = _outcome(main, arguments)
        _discard_unwritable_output()
        if listener.received and code:
            # Whatever `main` raised: libraries may turn our exception into one of their own.
            listener.end(text if code == signals.PREEMPTED else None)
        if text:
            signals.say(text, "stopped" if code in (signals.PREEMPTED, signals.INTERRUPTED) else "error")
        elif suppressed and not code:
            more = f" ({len(suppressed)} times)" if suppressed[1:] else ""
            signals.say(f"{sentence(suppressed[0])}{more}", "warning")
        if code and listener.before_exit:
            listener.exit(code)
    return code


def _outcome(main, arguments):
    """Runs main; the exit code, and the sentence to print or ""."""
    try:
        code = main(*arguments) or 0
        sys.stdout.flush()  # report output that cannot be written as an error, not on exit
        return code, ""
    except SystemExit as error:
        return (FAILED, error.code) if isinstance(error.code, str) else (error.code or 0, "")
    except BrokenPipeError:  # of `| head`
        return FAILED, ""
    except KeyboardInterrupt:
        return signals.INTERRUPTED, signals.SENTENCES[signals.INTERRUPTED]
    except Terminated as error:
        return signals.PREEMPTED, str(error)
    except BaseException as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return FAILED, sentence(error)


def _discard_unwritable_output():
    """Discards output that cannot be written, or the interpreter would complain about it on exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def sentence(error: BaseException) -> str:
    """Describes an error to users.

    The root cause is reported: on a full disk a checkpoint fails first, and then everything that depends on it.
    """
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return _with_advice(printable(str(cause), None))
    for cause in chain[1:]:
        if isinstance(cause, OSError) and not isinstance(error, OSError | MemoryError):
            return sentence(cause)
    if isinstance(error, OSError) and (error.filename or error.errno):
        return _with_advice(system_sentence(error))
    if NO_SPACE in str(error):  # from C++ libraries
        return f"{NO_SPACE.lower()} ({reason(error)}); {SPACE}"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"not enough memory ({reason(error)}); use smaller batches, tiles or models, or a machine with more memory"
    return f"{type(error).__name__}: {reason(error)}. This is a bug in omnisat_jax; its traceback is in {_keep(error)}"


def _with_advice(text: str) -> str:
    """A sentence about a full disk says what to do, whoever noticed it."""
    full = any(system_reason(OSError(number, "")) in text for number in (errno.ENOSPC, errno.EDQUOT))
    return f"{text}; {SPACE}" if full and "same command again" not in text and "free some space" not in text else text


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error, its cause or context, and so on."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _keep(error):
    """Writes the traceback to a file and returns its path."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="omnisat_jax-", suffix=".txt", errors="backslashreplace", delete=False) as target:
            target.write(text)
        return target.name
    except OSError:
        return f"no file, as none can be written; set {DEBUG}=1 to see it"


@contextlib.contextmanager
def _silenced_threads(permanent: bool) -> Iterator[list[BaseException]]:
    """Collects errors of other threads instead of printing them; yields the list.

    On a full disk every thread of every library fails repeatedly, which would hide the one sentence that explains it.
    """
    found: list[BaseException] = []
    if os.environ.get(DEBUG):
        yield found
        return

    def note(failure):
        # Errors of threads, and OSErrors of destructors, which may have failed to write.
        if isinstance(failure.exc_value, Exception if hasattr(failure, "thread") else OSError):
            found.append(failure.exc_value)

    before = threading.excepthook, sys.unraisablehook, logging.raiseExceptions
    threading.excepthook = sys.unraisablehook = note
    logging.raiseExceptions = False
    try:
        yield found
    finally:
        if not permanent:
            threading.excepthook, sys.unraisablehook, logging.raiseExceptions = before
