"""Raw measurements of one tile or of several, checked and brought into the form of a batch.

Tiles are treated as in the evaluation of a run: the same choice of dates, the same day 0, the same rules for what is unknown.
Letters: B tiles, T dates, S slots for dates in the batch, H W pixels, C bands.
"""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnisat_jax.config.rules import nearest
from omnisat_jax.dates import EPOCH, choose_dates, day_zero
from omnisat_jax.errors import UserError, printable, reason
from omnisat_jax.missing import NO_DATA_INT16, measured
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.words import number_of

FIRST_DAY, LAST_DAY = ((datetime.date(year, 1, 1) - EPOCH).days for year in (1900, 2101))
SLOTS = 8  # dates are padded to a multiple of this where a model takes all of them
AXES = {"series": "(T, H, W, C) or (B, T, H, W, C)", "image": "(H, W, C) or (B, H, W, C)", "location": "(2,) or (B, 2)"}


class InputError(UserError):
    """Measurements that a model cannot use. The message names the modality, what was expected and what was found."""


@dataclasses.dataclass(frozen=True)
class _Given:
    """The measurements of one modality.

    Attributes:
      values: (B,...) numbers of any type.
      unknown: bool of the same shape, what the user masked.
      days: (B,T) int64 days since 1970-01-01, and valid (B,T) bool; of a series only.
      batched: whether the user gave several tiles.
    """

    spec: ModalitySpec
    values: np.ndarray
    unknown: np.ndarray
    days: np.ndarray
    valid: np.ndarray
    batched: bool


def make_inputs(
    inputs: Mapping[str, Any], specs: Sequence[ModalitySpec], origin: str, grid: int | None = None
) -> tuple[dict[str, dict[str, np.ndarray]], bool]:
    """Returns the modalities of a batch (see `omnisat_jax.batch`), every one of the model, and whether several tiles were given.

    Values become float32, unknown ones NaN, whatever their type was, so that one program serves all of them.

    Args:
      inputs: see `Model.probabilities`.
      specs: the modalities of the model.
      origin: `data.origin` of its configuration.
      grid: tokens per tile side that the model is limited to; None = any.

    Raises:
      InputError: see `Model.probabilities`.
    """
    if not isinstance(inputs, Mapping):
        raise InputError(f"expected a dict from modalities to measurements, found {_kind(inputs)}")
    known = {spec.name: spec for spec in specs}
    for name in inputs:
        if name not in known:
            shown = printable(" ".join(str(name).split()), 100)
            raise InputError(f"unknown modality '{shown}'.{nearest(shown, list(known))}")
    given = {name: _read(spec, inputs[name]) for name, spec in known.items() if name in inputs}
    side = _grid(given, specs)
    if grid is not None and side != grid:
        raise InputError(f"expected tiles of {grid} x {grid} patches, the only size that this model takes, found {side} x {side}")
    batched, size = _batch_size(given)
    out = _empty(given, specs, size, side)
    for index in range(size):
        _fill(out, given, index, origin)
    for index in range(size):
        if not any(entry["present"][index] for entry in out.values()):
            where = f"tile {index}: " if batched else ""
            raise InputError(f"{where}expected a known value in {' or '.join(given)}, found none: everything is masked or no data")
    return out, batched


def _read(spec: ModalitySpec, given: Any) -> _Given:
    """One modality as the user gave it, its types, number of axes, bands and dates checked."""
    days = valid = None
    if spec.kind == "series":
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise InputError(f"{spec.name}: expected (values, dates) or (values, dates, valid), found {_kind(given)}")
        given, days, valid = (*given, None)[:3]
    values = _array(spec, given)
    axes = {"series": 4, "image": 3, "location": 1}[spec.kind]
    if values.ndim not in (axes, axes + 1) or values.shape[-1] != spec.channels:
        what = "longitude and latitude" if spec.kind == "location" else number_of(spec.channels, 'band')
        raise InputError(f"{spec.name}: expected {what}, {AXES[spec.kind]}, found an array of shape {values.shape}")
    batched = values.ndim > axes
    unknown = np.broadcast_to(np.ma.getmask(values), values.shape)
    values = np.asarray(np.ma.getdata(values))
    if not batched:
        values, unknown = values[None], unknown[None]
    empty = np.zeros((len(values), 0))
    if spec.kind == "location":
        _check_location(spec, values, unknown)
    if spec.kind != "series":
        return _Given(spec, values, unknown, empty.astype(np.int64), empty.astype(bool), batched)
    days, valid = _read_dates(spec, values.shape[:2], days, valid)
    return _Given(spec, values, unknown, days, valid, batched)


def _array(spec, given) -> np.ndarray:
    try:
        values = given if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
    except Exception as error:  # of NumPy, or of whatever holds the measurements
        raise InputError(f"{spec.name}: expected an array of numbers, found {_kind(given)} ({reason(error)})") from error
    if values.dtype.kind not in "iu" and not _is_float(values.dtype):
        raise InputError(f"{spec.name}: expected integers or floating-point numbers, found {values.dtype}")
    return values


def _is_float(dtype) -> bool:
    # bfloat16 is no floating-point number to NumPy.
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _read_dates(spec, shape, dates, valid) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970-01-01 (B,T), and which dates are valid (B,T)."""
    if not shape[1]:
        raise InputError(f"{spec.name}: expected at least one date, found none; leave out a modality that is missing")
    days, missing = _days(spec, dates)
    masked = np.zeros(shape, bool) if valid is None else ~_flags(spec, valid, shape)
    if days.shape not in (shape, shape[1:]):
        raise InputError(
            f"{spec.name}: expected a date for each of {number_of(shape[1], 'image')}, {shape[1:]} or {shape}, found dates of shape {days.shape}"
        )
    days, missing = np.broadcast_to(days, shape), np.broadcast_to(missing, shape)
    wrong = missing & ~masked
    if wrong.any():
        raise InputError(f"{spec.name}: expected dates, found none (NaT or masked) for image {np.argwhere(wrong)[0][1]}")
    wrong = ~missing & ((days < FIRST_DAY) | (days >= LAST_DAY))
    if wrong.any():
        raise InputError(
            f"{spec.name}: expected dates from 1900 to 2100, integers counting days since 1970-01-01, found {days[wrong][0]}"
        )
    return days, ~masked


def _flags(spec, valid, shape) -> np.ndarray:
    flags = np.asarray(valid)
    if flags.dtype != bool or flags.shape not in (shape, shape[1:]):
        raise InputError(
            f"{spec.name}: expected valid as bool {shape[1:]} or {shape}, one for each image, found {flags.dtype} {flags.shape}"
        )
    return np.broadcast_to(flags, shape)


def _days(spec, dates) -> tuple[np.ndarray, np.ndarray]:
    """Dates as days since 1970-01-01, and which of them are missing (NaT or masked)."""
    expected = "datetime64, datetime.date or integers (days since 1970-01-01)"
    masked = np.ma.getmask(dates)
    try:
        array = np.asarray(dates)
        if array.dtype == object and array.size and all(isinstance(day, datetime.date) for day in array.flat):
            # A date and time counts as its day, in its own time zone.
            array = np.array([day.toordinal() - EPOCH.toordinal() for day in array.flat], np.int64).reshape(array.shape)
    except Exception as error:  # of NumPy, or of whatever holds the dates
        raise InputError(f"{spec.name}: expected dates as {expected}, found {_kind(dates)} ({reason(error)})") from error
    if array.dtype.kind == "M":
        missing = np.isnat(array) | masked
        return np.where(missing, np.datetime64(0, "D"), array.astype("datetime64[D]")).astype(np.int64), missing
    if array.dtype.kind not in "iu":
        raise InputError(f"{spec.name}: expected dates as {expected}, found {array.dtype}")
    # Beyond int64 lies no date, and clipping keeps such numbers out of range.
    return np.minimum(array, np.array(np.iinfo(np.int32).max, np.uint32)).astype(np.int64), np.zeros(array.shape, bool) | masked


def _check_location(spec, values, unknown):
    known = ~unknown & _known(values)
    wrong = known & (np.abs(values.astype(np.float64)) > (180, 90))
    if wrong.any():
        found = values[np.argwhere(wrong)[0][0]]
        raise InputError(
            f"{spec.name}: expected a longitude from -180 to 180 and a latitude from -90 to 90 degrees, "
            f"found {found[0]:g}, {found[1]:g}"
        )


def _grid(given: Mapping[str, _Given], specs) -> int:
    """Tokens per tile side, shown to be the same for every sensor."""
    grids = {}
    for name, entry in given.items():
        if entry.spec.kind == "location":
            continue
        height, width = entry.values.shape[-3:-1]
        patch = entry.spec.patch
        if height != width or height % patch or not height:
            raise InputError(
                f"{name}: expected square tiles, their sides multiples of {patch} px (one patch of {entry.spec.ground:g} m), "
                f"found {height} x {width} px"
            )
        grids[name] = height // patch
    if not grids:
        sensors = ", ".join(spec.name for spec in specs if spec.kind != "location")
        raise InputError(f"expected at least one of {sensors}, found {', '.join(given) or 'no modality'}")
    first = next(iter(grids))
    for name, grid in grids.items():
        if grid != grids[first]:
            spec = given[name].spec
            raise InputError(
                f"{name}: expected the same ground as {first}, {grids[first] * spec.patch} px for its {grids[first] * spec.ground:g} m, "
                f"found {grid * spec.patch} px ({grid * spec.ground:g} m)"
            )
    return grids[first]


def _batch_size(given: Mapping[str, _Given]) -> tuple[bool, int]:
    """Whether several tiles were given, and how many."""
    sizes = {name: len(entry.values) if entry.batched else 0 for name, entry in given.items()}
    first = next(iter(sizes))
    for name, size in sizes.items():
        if size != sizes[first]:
            one, other = (f"{n} with {f'a batch of {sizes[n]}' if sizes[n] else 'no batch axis'}" for n in (first, name))
            raise InputError(f"expected the same number of tiles of every modality, found {one} and {other}")
    if given[first].batched and not sizes[first]:
        raise InputError(f"{first}: expected at least one tile, found a batch of 0")
    return given[first].batched, max(sizes[first], 1)


def _empty(given, specs, size: int, side: int) -> dict[str, dict[str, np.ndarray]]:
    """A batch in which everything is absent. A series has the slots of the model, or of its own dates where the model takes all of them."""
    out = {}
    for spec in specs:
        if spec.kind == "location":
            shape = (2,)
        else:
            shape = (side * spec.patch, side * spec.patch, spec.channels)
        entry = {"present": np.zeros(size, bool)}
        if spec.kind == "series":
            count = given[spec.name].days.shape[1] if spec.name in given else 1
            slots = spec.dates_eval or -(-count // SLOTS) * SLOTS
            entry |= {"dates": np.zeros((size, slots), np.int32), "valid": np.zeros((size, slots), bool)}
            shape = (slots, *shape)
        out[spec.name] = entry | {"values": np.zeros((size, *shape), np.float32)}
    return out


def _fill(out, given: Mapping[str, _Given], index: int, origin: str) -> None:
    """Writes one tile into the batch."""
    chosen, days, frames = {}, {}, {}
    for name, entry in given.items():
        values = entry.values[index]
        known = _known(values) & ~entry.unknown[index]
        if entry.spec.kind != "series":
            if known.any() if entry.spec.kind == "image" else known.all():
                out[name]["values"][index] = _as_float(values, known)
                out[name]["present"][index] = True
            continue
        order = np.argsort(entry.days[index], kind="stable")
        order = order[entry.valid[index][order]]
        seen = known.any((1, 2, 3))[order]
        if not seen.any():
            continue
        picked = order[choose_dates(seen, out[name]["dates"].shape[1], None)]
        days[name], chosen[name] = entry.days[index][order], picked
        frames[name] = _as_float(values[picked], known[picked]), known[picked].any((1, 2, 3))
    zero = day_zero(origin, list(days.values()))
    for name, picked in chosen.items():
        entry, count = out[name], len(picked)
        entry["values"][index, :count], entry["valid"][index, :count] = frames[name]
        entry["dates"][index, :count] = given[name].days[index][picked] - zero
        entry["present"][index] = True


def _known(values: np.ndarray) -> np.ndarray:
    """Which numbers are measurements, see `missing.measured`. Wider signed integers have the no-data value of int16."""
    if values.dtype.kind == "i" and values.dtype.itemsize > 1:
        return values != NO_DATA_INT16
    return measured(values)


def _as_float(values, known) -> np.ndarray:
    """A float32 copy with NaN for what is not known."""
    with np.errstate(over="ignore"):  # of fill values, which are not known
        out = np.array(values, np.float32)
    out[~known] = np.nan
    return out


def _kind(given) -> str:
    kind = type(given).__name__
    return f"{kind} of {len(given)}" if isinstance(given, tuple | list) else printable(kind)
