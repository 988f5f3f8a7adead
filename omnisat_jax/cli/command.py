"""How every command of the project ends: 0, or one sentence and an exit code, whatever a user, a file, a disk or a signal did.

    if __name__ == "__main__":
        sys.exit(run_command(main))
"""

import contextlib
import errno
import logging
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable

from omnisat_jax.cli import signals
from omnisat_jax.cli.signals import DEBUG, Terminated
from omnisat_jax.errors import UserError, printable, reason, system_sentence

FAILED = 1
NO_SPACE = "No space left on device"


def run_command(main: Callable[..., int | None], *arguments) -> int:
    """Runs `main(*arguments)` and returns the exit code of the process.

    Every failure is one sentence on stderr: what a user can cause is a `UserError`, an error of the operating system, a signal or a
    shortage of memory; anything else is a fault of this program and says so, with the file that holds its traceback.
    """
    with contextlib.suppress(AttributeError, ValueError):  # a name that the terminal cannot show is shown as \xe4
        sys.stdout.reconfigure(errors="backslashreplace")
    with signals.listening() as listener, _quiet(listener.permanent) as asides:
        code, text = _outcome(main, arguments)
        _drop_what_cannot_be_written()
        if listener.received and code:
            # Whatever it ended in: a library may have turned our exception into one of its own.
            listener.end(text if code == signals.PREEMPTED else None)
        if text:
            signals.say(text, "stopped" if code in (signals.PREEMPTED, signals.INTERRUPTED) else "error")
        elif asides and not code:
            more = f" ({len(asides)} times)" if asides[1:] else ""
            signals.say(f"{sentence(asides[0])}{more}", "warning")
        if code and listener.farewell:
            listener.leave(code)
    return code


def _outcome(main, arguments):
    """(exit code, sentence or "")."""
    try:
        code = main(*arguments) or 0
        sys.stdout.flush()  # here what cannot be written is an error, later it is noise
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


def _drop_what_cannot_be_written():
    """The interpreter would try again when it ends, and complain."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def sentence(error: BaseException) -> str:
    """What to tell a user of an error.

    What was said first says most: on a full disk the checkpoint fails, and then whatever is written because of that.
    """
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return printable(str(cause), None)
    for cause in chain[1:]:
        if isinstance(cause, OSError) and not isinstance(error, OSError | MemoryError):
            return sentence(cause)
    if isinstance(error, OSError) and (error.filename or error.errno):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return system_sentence(error) + ("; make room, and the same command goes on from what is saved" if full else "")
    if NO_SPACE in str(error):  # of libraries in C++
        return f"{NO_SPACE.lower()} ({reason(error)}); make room, and the same command goes on from what is saved"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"not enough memory ({reason(error)}); use smaller batches, tiles or models, or a machine with more"
    return f"{type(error).__name__}: {reason(error)}. This is a fault of the program; its traceback is in {_keep(error)}"


def _chain(error):
    """An error, what it was raised from, what was being handled then, and so on."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _keep(error):
    """Writes a traceback where it can be found, and returns the place."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="omnisat_jax-", suffix=".txt", errors="backslashreplace", delete=False) as target:
            target.write(text)
        return target.name
    except OSError:
        return f"no file, as none can be written; {DEBUG}=1 shows it"


@contextlib.contextmanager
def _quiet(permanent):
    """What fails beside the main thread is kept instead of printed; yields the errors.

    On a full disk every thread of every library fails again and again, which hides the one sentence that says so.
    """
    found = []
    if os.environ.get(DEBUG):
        yield found
        return

    def note(about):
        thread = hasattr(about, "thread")  # else an object that failed to go, which matters where it should have written
        if isinstance(about.exc_value, Exception if thread else OSError):
            found.append(about.exc_value)

    before = threading.excepthook, sys.unraisablehook, logging.raiseExceptions
    threading.excepthook = sys.unraisablehook = note
    logging.raiseExceptions = False
    try:
        yield found
    finally:
        if not permanent:
            threading.excepthook, sys.unraisablehook, logging.raiseExceptions = before
