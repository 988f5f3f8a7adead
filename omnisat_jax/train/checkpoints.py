"""Checkpoints of one stage: the last ones, the best one, and what they were made from. The only file that knows Orbax."""

import errno
import itertools
import logging
import math
import os
import pathlib
import re
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from omnisat_jax.errors import DataError, UserError, reason, system_reason
from omnisat_jax.files.json_file import read_json
from omnisat_jax.parallel.hosts import exchange, is_leader, leader_first
from omnisat_jax.train import checksums

EARLIER = {"data", "statistics", "modalities", "classes", "step", "form"}  # keys of a description before it had a checksum
# What a whole checkpoint cannot be read for: it must not be set aside then.
CIRCUMSTANCES = ("RESOURCE_EXHAUSTED", "Too many open files", "Permission denied", "PERMISSION_DENIED", "Cannot allocate memory")
log = logging.getLogger(__name__)


class OtherRunError(UserError):
    """A checkpoint that was made from other data, or holds another model, than this run's: whole, but not to be continued here."""


class BrokenStepError(UserError):
    """A checkpoint that is missing, cannot be read, or is not what was saved.

    Attributes:
      path: its folder.
      why: without the folder.
    """

    def __init__(self, path, why):
        super().__init__(f"{path}: this checkpoint cannot be read ({why})")
        self.path, self.why = pathlib.Path(path), why


class SaveError(UserError):
    """A checkpoint could not be written; the older ones are untouched."""


class Checkpoints:
    """Asynchronous saving, restoring onto any mesh.

    Attributes:
      directory: of the stage's checkpoints.
    """

    def __init__(self, directory, *, keep: int, meta: dict, accept_new_data: bool = False):
        """Opens (or creates) a folder of checkpoints; what is broken in it is set aside.

        Args:
          keep: how many of the latest stay; the best always does.
          meta: plain values stored with each checkpoint; a checkpoint with another meta["data"] is refused,
            unless `accept_new_data`.
        """
        _quieten()
        self.directory = pathlib.Path(directory).resolve()
        with leader_first("look for broken checkpoints"):
            # Orbax reads the descriptions of all checkpoints at once and would stop at a broken one.
            for step in steps_in(self.directory) if is_leader() else ():
                try:
                    _description(self.directory / str(step))
                except BrokenStepError as error:
                    set_aside(error)
        self._meta, self._accept, self._failed = meta, accept_new_data, False
        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(keep),
                preservation_policy.BestN(get_metric_fn=_value, n=1, keep_checkpoints_without_metrics=False),
            ]
        )
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy, best_fn=_value, best_mode="max", create=True, cleanup_tmp_directories=True
            ),
            item_names=("state", "meta"),
        )
        self._proven = bool(self._manager.all_steps())

    def save(self, step: int, state, value: float | None = None):
        """Starts saving `state` as of `step`; `value` (more is better) ranks it. A step is saved once, the first of a run read back at once.

        Raises:
          SaveError: this save cannot start, the one before it failed, or what was written cannot be read.
        """
        if self._manager.latest_step() == step:
            return
        value = None if value is None or math.isnan(value) else value
        about = {"step": step, "form": form(state), "value": value, "checksums": checksums.of_state(state)}
        about = self._meta | about
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(about | {"checksum": checksums.of_text(about)})
        )
        metrics = None if value is None else {"value": value}
        self._guard(f"of step {step}, or the one before it", lambda: self._manager.save(step, args=items, metrics=metrics))
        if not self._proven:
            self.wait()
            self._read_back(step, state)
            self._proven = True

    def _read_back(self, step, state):
        """Shows that this folder can be read from, before a run relies on it; on the host, as devices may have no room for a second state."""
        # Arrays of no memory that say what is expected.
        host = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), state)
        try:
            read_step(self.directory / str(step), host, data=self._meta["data"])
        except BrokenStepError as error:
            self._failed = True
            raise SaveError(
                f"{error.path}: this checkpoint was written, but cannot be read back ({error.why}). "
                "See to the disk, or choose another --workdir"
            ) from error

    def latest(self) -> int | None:
        """Step of the newest checkpoint."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the best ranked checkpoint; None if none was ranked."""
        ranked = [step for step in self._manager.all_steps() if self._manager.metrics(step)]
        return max(ranked, key=lambda step: (_value(self._manager.metrics(step)), step), default=None)

    def checksum(self, step: int) -> str | None:
        """Of a checkpoint that is on disk: what identifies its content."""
        return _description(self.directory / str(step)).get("checksum")

    def restore(self, step: int, abstract_state):
        """See `read_step`."""
        return read_step(self.directory / str(step), abstract_state, data=self._meta["data"], accept_new_data=self._accept)[0]

    def restore_newest(self, abstract_state):
        """The newest state that can be read: (step, state).

        What cannot be read is set aside as <directory>-broken/<step>, with a warning, so that the step can be saved again and nothing is lost.

        Returns:
          step 0 and None where there is no checkpoint at all.

        Raises:
          UserError: see `restore`; or checkpoints exist, but none can be read.
        """
        broken = None
        while (step := self.latest()) is not None:
            try:
                return step, self.restore(step, abstract_state)
            except BrokenStepError as error:
                broken = error
                with leader_first("set a broken checkpoint aside"):
                    set_aside(error)
                self._manager.reload()
        if broken or any(aside(self.directory).glob("*")):
            raise UserError(
                f"{self.directory}: none of the checkpoints can be read; they are in {aside(self.directory)}. Restore one of them, or "
                "delete that folder as well: the same command then trains this stage again from its start"
            )
        return 0, None

    def wait(self):
        """Until everything is on disk.

        Raises:
          SaveError: the last save failed.
        """
        self._guard("the last one started", self._manager.wait_until_finished)

    def _guard(self, what, action):
        try:
            action()
        except Exception as error:
            self._failed = True
            raise SaveError(
                f"{self.directory}: a checkpoint ({what}) could not be written ({_cause(error)}). Older checkpoints are untouched: "
                "see to the disk and start the same command again"
            ) from error

    def close(self):
        """Waits until everything is on disk; what failed before was said then."""
        if not self._failed:
            self.wait()
        self._manager.close()


def read_step(path, abstract_state, *, data: dict, accept_new_data: bool = False, checksum: str | None = None):
    """One checkpoint, compared with what was saved.

    Args:
      path: its folder.
      abstract_state: ShapeDtypeStructs with shardings, which say where arrays are placed, or NumPy arrays.
      data: what it must have been made from.
      accept_new_data: it may have been made from other data.
      checksum: it must have, or None.

    Returns:
      (state, checksum of the checkpoint or None of one from before they had any)

    Raises:
      BrokenStepError: on every process alike.
      OtherRunError: the checkpoint was made from other data, other tiles or another batch size; or it holds other arrays.
    """
    _quieten()
    path = pathlib.Path(path).resolve()
    state, about, why = None, {}, ""
    try:
        about = _description(path)
        if checksum and about.get("checksum") != checksum:
            raise BrokenStepError(path, f"it is another one than was recorded: checksum {about.get('checksum')}, not {checksum}")
        _compare(path, about, data, accept_new_data, form(abstract_state))
        state = ocp.StandardCheckpointHandler().restore(path / "state", args=ocp.args.StandardRestore(abstract_state))
    except OtherRunError:
        raise
    except BrokenStepError as error:
        why = error.why
    except Exception as error:  # whatever a damaged file makes the reader say
        if isinstance(error, MemoryError) or any(words in str(error) for words in CIRCUMSTANCES):
            raise UserError(f"{path}: this checkpoint cannot be read now ({_cause(error)}); it is left as it is") from error
        why = reason(error)
    _agree(path, why)
    if "checksums" in about:
        wrong = checksums.differing(state, about["checksums"])
        _agree(path, f"{len(wrong)} of its arrays are not what was saved: {', '.join(wrong[:3])}" if wrong else "")
    else:
        log.debug("%s: from before checkpoints had checksums; its arrays cannot be compared with what was saved", path)
    return state, about.get("checksum")


def _agree(path, why):
    """What one process cannot read, none uses."""
    reasons = [facts["why"] for facts in exchange("restore", {"why": why}) if facts["why"]]
    if reasons:
        raise BrokenStepError(path, reasons[0])


def _description(path) -> dict:
    """What a checkpoint says of itself.

    Raises:
      BrokenStepError: files that are missing, damaged or contradict each other.
    """
    if not path.is_dir():
        raise BrokenStepError(path, "it is not there")
    try:
        read_json(path / "_CHECKPOINT_METADATA", what="the description of a checkpoint").items()
        about = read_json(path / "meta" / "metadata", what="what a checkpoint was made from")
        about.get("data").items()
        about.get("form").items()
        metrics = path / "metrics" / "metrics"
        value = read_json(metrics, what="the rank of a checkpoint").get("value").number() if metrics.is_file() else None
    except DataError as error:
        raise BrokenStepError(path, f"{pathlib.Path(error.path).name}: expected {error.expected}, found {error.found}") from error
    about = about.value
    known = about.get("checksum")
    if known is None and "checksums" not in about and about.keys() <= EARLIER:
        return about
    content = {key: entry for key, entry in about.items() if key != "checksum"}
    if checksums.of_text(content) != known:
        raise BrokenStepError(path, "metadata: what it was made from is not what was saved")
    if content["value"] != value:
        raise BrokenStepError(path, f"metrics: the rank {value} is not the one that was saved, {content['value']}")
    return about


def _compare(path, about, data, accept, expected):
    found = about["data"]
    if found != data and not accept:
        changed = [f"{key}: {found.get(key)!r} then, {data.get(key)!r} now" for key in data if found.get(key) != data[key]]
        raise OtherRunError(
            f"{path}: this checkpoint was made from other data ({'; '.join(changed)}); "
            "restore the data, start again in another --workdir, or go on regardless with --accept_new_data"
        )
    found = about["form"]
    if found != expected:
        names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        changed = [f"{name}: {found.get(name, 'nothing')} there, {expected.get(name, 'nothing')} here" for name in names[:5]]
        raise OtherRunError(
            f"{path}: this checkpoint holds another model: {len(names)} arrays differ ({'; '.join(changed)}). "
            "Go on with the code it was made with, or start again in another --workdir"
        )


def steps_in(directory) -> list[int]:
    """Steps of the checkpoints in a folder, ascending, whether or not they can be read."""
    return sorted(int(path.name) for path in pathlib.Path(directory).glob("*") if re.fullmatch("[0-9]+", path.name))


def aside(directory) -> pathlib.Path:
    """Where broken checkpoints of a folder go."""
    directory = pathlib.Path(directory)
    return directory.with_name(f"{directory.name}-broken")


def set_aside(error: BrokenStepError):
    """Moves a broken checkpoint away, on process 0, under a name that is still free."""
    place = aside(error.path.parent)
    if not error.path.exists():
        return
    log.warning("%s; it is now in %s", error, place)
    if is_leader():
        place.mkdir(exist_ok=True)
        error.path.rename(next(p for i in itertools.count() if not (p := place / f"{error.path.name}.{i}").exists()))


def _cause(error):
    """What a library says of a disk, in our words where they are known."""
    known = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE, errno.EFBIG)
    found = next((number for number in known if os.strerror(number) in str(error)), None)
    return system_reason(OSError(found, os.strerror(found))) if found else reason(error)


class _NotOrbax(logging.Filter):
    def filter(self, record):
        return "orbax" not in record.pathname and not (record.name == "asyncio" and "orbax" in record.getMessage())


def _quieten():
    """One failed write or read is one error, raised where it is waited for; Orbax logs it from each of its threads as well, with tracebacks."""
    if any(isinstance(known, _NotOrbax) for known in logging.getLogger("absl").filters):
        return
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_NotOrbax())
    before = sys.unraisablehook

    def hook(unraisable):
        # Of TensorStore: the other arrays of a read or write that has failed already.
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


def _value(metrics):
    return metrics["value"]


def form(state) -> dict[str, list[int]]:
    """Shape of every array of a state, by its path."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): list(leaf.shape) for path, leaf in leaves}


def abstract_like(state, shardings):
    """ShapeDtypeStructs of an (abstract) state with its shardings."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings)
