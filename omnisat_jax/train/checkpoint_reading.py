"""Reads checkpoints and compares them with what was saved: all of one, or the parameters that another run may take from it."""

import errno
import logging
import os
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from omnisat_jax.errors import DataError, UserError, reason, system_reason
from omnisat_jax.parallel.hosts import exchange
from omnisat_jax.records.units import band_of_other_unit
from omnisat_jax.train import checksums
from omnisat_jax.train.checkpoint_folders import BrokenStepError, lasting, read_file
from omnisat_jax.types import PyTree, StrPath

EARLIER = {"data", "statistics", "modalities", "classes", "step", "form"}  # keys of a description from before it had a checksum
# Reasons why an intact checkpoint cannot be read now; it must not be set aside for them.
CIRCUMSTANCES = ("RESOURCE_EXHAUSTED", "Too many open files", "Permission denied", "PERMISSION_DENIED", "Cannot allocate memory")
log = logging.getLogger(__name__)


class OtherRunError(UserError):
    """An intact checkpoint that this run cannot continue: it was made from other data, or holds another model."""


def read_step(
    path: StrPath, abstract_state: PyTree, *, data: dict[str, Any], accept_new_data: bool = False, checksum: str | None = None
) -> tuple[Any, str | None]:
    """Reads one checkpoint and compares it with what was saved.

    Args:
      path: its folder.
      abstract_state: ShapeDtypeStructs with the shardings that the arrays get, or NumPy arrays.
      data: what it must have been made from.
      accept_new_data: it may have been made from other data.
      checksum: the one that it must have, or None.

    Returns:
      The state, and the checksum of the checkpoint (None of one from before checkpoints had any).

    Raises:
      BrokenStepError: on every process alike.
      OtherRunError: the checkpoint was made from other data, other tiles or another batch size; or it holds other arrays.
    """

    def read(folder: epath.Path, meta: dict[str, Any]) -> Any:
        _compare(path, meta, data, accept_new_data, form(abstract_state))
        return ocp.StandardCheckpointHandler().restore(folder, args=ocp.args.StandardRestore(abstract_state)), meta.get("checksums")

    return _read(path, read, checksum)


def read_parameters(
    path: StrPath, abstract_params: PyTree, *, about: dict[str, Any], checksum: str | None = None
) -> tuple[Any, str | None]:
    """Reads the evaluated parameters of a checkpoint of another run that this model has under the same names, and compares them with what was saved.

    Args:
      path: its folder.
      abstract_params: nested dict of ShapeDtypeStructs with the shardings that the arrays get.
      about: what this run stores with its own checkpoints; "bands" ({modality: names}) must be equal for the modalities that both runs have, and
        "statistics" must allow the same units.
      checksum: the one that the checkpoint must have, or None.

    Returns:
      Nested dict of arrays, and the checksum of the checkpoint (None of one from before checkpoints had any).

    Raises:
      BrokenStepError: on every process alike.
      OtherRunError: other bands or units, or arrays of the same names and other shapes.
    """
    wanted = dict(checksums.named(abstract_params))

    def read(folder: epath.Path, meta: dict[str, Any]) -> Any:
        _compare_sensors(path, meta, about)
        start, there = _evaluated(meta["form"])
        both = {name: wanted[name] for name in wanted if name in there}
        wrong = [f"{name}: {there[name]} there, {list(leaf.shape)} here" for name, leaf in both.items() if there[name] != list(leaf.shape)]
        if wrong:
            raise OtherRunError(f"{path}: this checkpoint holds another model: {len(wrong)} arrays have other shapes ({'; '.join(wrong[:5])})")
        handler = ocp.PyTreeCheckpointHandler()
        on_disk = {_on_disk(start + name): leaf for name, leaf in both.items()}
        whole = handler.metadata(folder).tree
        tree = jax.tree.map(lambda leaf: on_disk.get(leaf.name, ocp.PLACEHOLDER), whole)
        found = handler.restore(folder, args=ocp.args.PyTreeRestore(item=tree, restore_args=ocp.checkpoint_utils.construct_restore_args(tree)))
        arrays = {leaf.name: array for leaf, array in zip(jax.tree.leaves(whole), jax.tree.leaves(found), strict=True)}
        state = jax.tree_util.tree_map_with_path(lambda keys, _: arrays.get(_on_disk(start + jax.tree_util.keystr(keys))), abstract_params)
        known = meta.get("checksums")
        return _without_none(state), known and {name: known[start + name] for name in both}

    return _read(path, read, checksum)


def _evaluated(form: dict[str, list[int]]) -> tuple[str, dict[str, list[int]]]:
    """Where a state keeps the parameters that are evaluated (`TrainState.evaluated`), and the shape of each by its path below that."""
    start = next((match[1] for name in form if (match := re.match(r"(\.opt_state.*\.average)\[", name))), ".params")
    return start, {name.removeprefix(start): shape for name, shape in form.items() if name.startswith(f"{start}[")}


def _on_disk(name: str) -> str:
    """How Orbax names the array with that path."""
    return ".".join(re.findall(r"\w+", name))


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    """A nested dict without the entries that are None, and without the groups that are then empty."""
    kept = {key: _without_none(value) if isinstance(value, dict) else value for key, value in tree.items()}
    return {key: value for key, value in kept.items() if not (value is None or isinstance(value, dict) and not value)}


def _compare_sensors(path, meta, about):
    there, here = meta.get("bands", {}), about["bands"]  # checkpoints of earlier versions do not name bands
    wrong = [f"{name}: {', '.join(there[name])} there, {', '.join(here[name])} here" for name in here if name in there and there[name] != here[name]]
    if wrong:
        raise OtherRunError(f"{path}: expected the bands of this run, in its order, found others ({'; '.join(wrong)})")
    for name in here:
        known = [source.get("statistics", {}).get(name, {}).get("std") for source in (meta, about)]
        if all(known) and name != "location" and len(known[0]) == len(known[1]) and (band := band_of_other_unit(*known)) is not None:
            raise OtherRunError(
                f"{path}: {name}: expected values of band {here[name][band]} in the unit of this run, whose standard deviation is {known[1][band]:.3g}, "
                f"found {known[0][band]:.3g} in pre-training; convert one of the datasets"
            )


def _read(
    path: StrPath, read: Callable[[epath.Path, dict[str, Any]], tuple[Any, checksums.Checksums | None]], checksum: str | None
) -> tuple[Any, str | None]:
    """What `read` makes of the arrays of a checkpoint and of its description, once they agree with the checksums that it returns as well."""
    quieten()
    path = lasting(path)
    state, saved, meta, why = None, None, {}, ""
    try:
        meta = description(path)
        if checksum and meta.get("checksum") != checksum:
            raise BrokenStepError(path, f"it is another one than was recorded: checksum {meta.get('checksum')}, not {checksum}")
        state, saved = read(epath.Path(path / "state"), meta)
    except OtherRunError:
        raise
    except BrokenStepError as error:
        why = error.why
    except Exception as error:  # whatever a damaged file makes the reader raise
        if isinstance(error, MemoryError) or any(words in str(error) for words in CIRCUMSTANCES):
            raise UserError(f"{path}: this checkpoint cannot be read now ({cause(error)}); it is left unchanged") from error
        why = reason(error)
    _raise_together(path, why)
    if saved is not None:
        wrong = checksums.differing(state, saved)
        _raise_together(path, f"{len(wrong)} of its arrays are not what was saved: {', '.join(wrong[:3])}" if wrong else "")
    else:
        log.debug("%s: from before checkpoints had checksums; its arrays cannot be compared with what was saved", path)
    return state, meta.get("checksum")


def _raise_together(path, why):
    """Raises on every process if one of them cannot read the checkpoint."""
    reasons = [facts["why"] for facts in exchange("restore", {"why": why}) if facts["why"]]
    if reasons:
        raise BrokenStepError(path, reasons[0])


def description(path: pathlib.Path | epath.Path) -> dict[str, Any]:
    """The description stored with a checkpoint.

    Raises:
      BrokenStepError: files that are missing, damaged or contradict each other.
    """
    if not path.is_dir():
        raise BrokenStepError(path, "it is not there")
    try:
        read_file(path / "_CHECKPOINT_METADATA", "the description of a checkpoint").items()
        stored = read_file(path / "meta" / "metadata", "what a checkpoint was made from")
        stored.get("data").items()
        stored.get("form").items()
        metrics = path / "metrics" / "metrics"
        value = read_file(metrics, "the rank of a checkpoint").get("value").number() if metrics.is_file() else None
    except DataError as error:
        raise BrokenStepError(path, f"{pathlib.Path(error.path).name}: expected {error.expected}, found {error.found}") from error
    meta = stored.value
    known = meta.get("checksum")
    if known is None and "checksums" not in meta and meta.keys() <= EARLIER:
        return meta
    content = {key: entry for key, entry in meta.items() if key != "checksum"}
    if checksums.of_text(content) != known:
        raise BrokenStepError(path, "metadata: what it was made from is not what was saved")
    if content["value"] != value:
        raise BrokenStepError(path, f"metrics: the rank {value} is not the one that was saved, {content['value']}")
    return meta


def _compare(path, meta, data, accept, expected):
    found = meta["data"]
    if found != data and not accept:
        changed = [f"{key}: {found.get(key)!r} then, {data.get(key)!r} now" for key in data if found.get(key) != data[key]]
        raise OtherRunError(
            f"{path}: this checkpoint was made from other data ({'; '.join(changed)}); "
            "restore the data, start again in another --workdir, or continue anyway with --accept_new_data"
        )
    found = meta["form"]
    if found != expected:
        names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        changed = [f"{name}: {found.get(name, 'nothing')} there, {expected.get(name, 'nothing')} here" for name in names[:5]]
        raise OtherRunError(
            f"{path}: this checkpoint holds another model: {len(names)} arrays differ ({'; '.join(changed)}). "
            "Go on with the code it was made with, or start again in another --workdir"
        )


def cause(error: BaseException) -> str:
    """What a library reports of a disk, in our words where the error is a known one."""
    known = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE, errno.EFBIG)
    found = next((number for number in known if os.strerror(number) in str(error)), None)
    return system_reason(OSError(found, os.strerror(found))) if found else reason(error)


class _NotOrbax(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname and not (record.name == "asyncio" and "orbax" in record.getMessage())


def quieten() -> None:
    """Silences Orbax: a failed write or read is raised where it is waited for, but Orbax also logs it, with tracebacks, from each of its threads."""
    if any(isinstance(known, _NotOrbax) for known in logging.getLogger("absl").filters):
        return
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_NotOrbax())
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        # TensorStore raises this for the other arrays of a read or write that has failed already.
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


def form(state: PyTree) -> dict[str, list[int]]:
    """The shape of every array of a state, by its path."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): list(leaf.shape) for path, leaf in leaves}
