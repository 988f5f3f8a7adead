"""Where the checkpoints of a stage lie, in a folder or in a bucket, and what becomes of broken ones."""

import itertools
import logging
import pathlib
import re

from etils import epath

from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files import working_copy
from omnisat_jax.files.addresses import scheme_of
from omnisat_jax.files.buckets import Bucket, set_up
from omnisat_jax.files.json_file import Value, parse_json, read_json
from omnisat_jax.parallel.hosts import is_leader
from omnisat_jax.types import StrPath

COMMITTED = "commit_success.txt"  # the object that Orbax writes last
log = logging.getLogger(__name__)


class BrokenStepError(UserError):
    """A checkpoint that is missing, cannot be read, or is not what was saved.

    Attributes:
      path: its folder.
      why: the reason, without the folder.
    """

    def __init__(self, path: StrPath, why: str):
        super().__init__(f"{path}: this checkpoint cannot be read ({why})")
        self.path, self.why = lasting(path), why


def lasting(path: StrPath) -> pathlib.Path | epath.Path:
    """Where a folder of checkpoints, or one of them, lies for good: in the bucket of a run that lives in one, or as an absolute path."""
    place = working_copy.place_of(path)
    scheme = scheme_of(place)
    if scheme:
        set_up(scheme)
        return epath.Path(place)
    return pathlib.Path(path).resolve()


def read_file(path: pathlib.Path | epath.Path, what: str) -> Value:
    """Reads a JSON file of a checkpoint.

    Raises:
      DataError: it is missing or damaged.
    """
    if not scheme_of(path):
        return read_json(path, what=what)
    try:
        return parse_json(path.read_bytes(), path, what=what)
    except FileNotFoundError:
        raise DataError(tile="-", path=path, expected=what, found="no such object") from None


def steps_in(directory: StrPath) -> list[int]:
    """Steps of the checkpoints in a folder, ascending, whether or not they can be read.

    In a bucket, those without Orbax's mark were never finished; Orbax removes them.
    """
    directory = lasting(directory)
    found = [path for path in directory.glob("*") if re.fullmatch("[0-9]+", path.name)]
    return sorted(int(path.name) for path in found if not scheme_of(path) or (path / COMMITTED).exists())


def aside(directory: StrPath) -> pathlib.Path | epath.Path:
    """The folder to which broken checkpoints of a folder are moved."""
    directory = lasting(directory)
    return directory.with_name(f"{directory.name}-broken")


def set_aside(error: BrokenStepError) -> None:
    """Moves a broken checkpoint away, on process 0, under a name that is still free."""
    target = aside(error.path.parent)
    if not error.path.exists():
        return
    log.warning("%s; it is now in %s", error, target)
    if is_leader():
        target.mkdir(exist_ok=True)
        free = next(p for i in itertools.count() if not (p := target / f"{error.path.name}.{i}").exists())
        if scheme_of(free):
            source = Bucket(str(error.path))
            source.move(list(source.objects()), Bucket(str(free)))
        else:
            error.path.rename(free)
