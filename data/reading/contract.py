"""What a reader must return for a tile: every value is checked where it enters, so that a mistake in a reader is one sentence and is never cast or cut away.

Shapes: T dates, H x W pixels, C bands, K classes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from omnisat_jax.dates import EPOCH, YEARS
from omnisat_jax.errors import DataError, UserError, reason

if TYPE_CHECKING:
    from data.reading.raw import RawDataset

ADVICE = "Correct the reader (docs/extend.md)."
DAYS = tuple((EPOCH.replace(year=year, month=month, day=day) - EPOCH).days for year, month, day in ((YEARS[0], 1, 1), (YEARS[1], 12, 31)))
LIMITS = np.array([180.0, 90.0])  # of longitude and latitude


class _Checks:
    """Checks what the reader of a dataset returned for one modality of a tile, or for its labels."""

    def __init__(self, dataset: "RawDataset", tile: str, name: str):
        self.dataset, self.tile, self.name = dataset, tile, name

    def need(self, condition: object, expected: str, found: str) -> None:
        if not condition:
            what = f"the reader of {self.dataset.name} to return {expected}"
            raise DataError(tile=self.tile, path=self.path(), expected=what, found=found, advice=ADVICE)

    def path(self) -> Any:
        try:
            return self.dataset.path_of(self.tile, self.name)
        except Exception:  # a mistake in it must not hide the one that is reported
            return self.dataset.root

    def call(self, function: Callable[[str], Any]) -> Any:
        """What a function of the reader returns; its own errors other than those about data are reported with their type."""
        try:
            return function(self.tile)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            what = f"the reader of {self.dataset.name} to read {self.name}"
            found = f"{type(error).__name__}: {reason(error)}"
            raise DataError(tile=self.tile, path=self.path(), expected=what, found=found, advice="Correct the file, or the reader (docs/extend.md).", kind="fault") from error

    def keys(self, entry: Any, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        texts = " and ".join(map(repr, required))
        self.need(isinstance(entry, dict), f"{self.name} as a dictionary of {texts}", type(entry).__name__)
        missing, more = [key for key in required if key not in entry], [key for key in entry if key not in (*required, *optional)]
        self.need(not missing and not more, f"{self.name} as a dictionary of {texts}", ", ".join(map(str, entry)) or "an empty one")

    def array(self, entry: Mapping[str, Any], key: str, dtype: Any, shape: tuple[int | str, ...]) -> np.ndarray:
        """Checks dtype and shape; letters in `shape` stand for any length."""
        values, wanted = entry[key], np.dtype(dtype)
        what = f"{key} of {self.name} as {wanted} {_shown(shape)}"
        self.need(isinstance(values, np.ndarray), what, type(values).__name__)
        fits = values.ndim == len(shape) and all(isinstance(size, str) or size == found for size, found in zip(shape, values.shape))
        self.need(values.dtype == wanted and fits, what, f"{values.dtype} {values.shape}")
        return values


def _shown(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def read_modality(dataset: "RawDataset", name: str, tile: str) -> dict[str, Any]:
    """Reads one modality of a tile; see `RawDataset.read`.

    Raises:
      DataError: a broken file, or a reader that fails or returns another form than its RawModality says.
    """
    modality, checks = dataset.modalities[name], _Checks(dataset, tile, name)
    entry = checks.call(dataset.readers[name])
    series = modality.kind == "series"
    checks.keys(entry, ("values", "dates", "valid") if series else ("values",), ("remark",))
    values = checks.array(entry, "values", modality.dtype, ("T" if series else "0 or 1", *modality.shape))
    count = len(values)
    checks.need(series or count <= 1, f"at most one {modality.kind} as values of {name}", f"{count}")
    checks.need(isinstance(entry.get("remark", ""), str), f"a text as remark of {name}", type(entry.get("remark")).__name__)
    if series:
        dates = checks.array(entry, "dates", np.int32, (count,))
        checks.array(entry, "valid", bool, (count,))
        checks.need((np.diff(dates) >= 0).all(), f"dates of {name} in ascending order", "others before them")
        odd = dates[(dates < DAYS[0]) | (dates > DAYS[1])]
        checks.need(not len(odd), f"dates of {name} as days since {EPOCH}, from {YEARS[0]} to {YEARS[1]}", f"{odd[0] if len(odd) else ''}")
    if modality.kind == "location":
        inside = np.isfinite(values) & (np.abs(values) <= LIMITS)
        checks.need(inside.all(), "longitude and latitude in degrees as values of location", f"{values.ravel().tolist()}")
    return entry


def read_labels(dataset: "RawDataset", tile: str) -> dict[str, Any]:
    """Reads the labels of a tile; see `RawDataset.read`.

    Raises:
      DataError: a broken file, or a reader that fails or returns labels of another form than the dataset declares.
    """
    checks, count = _Checks(dataset, tile, "labels"), len(dataset.classes)
    entry = checks.call(dataset.labels)
    if dataset.task != "segment":
        checks.keys(entry, ("labels",))
        labels = checks.array(entry, "labels", np.float32, (count,))
        checks.need(((labels >= 0) & (labels <= 1)).all(), "labels from 0 to 1, one for each class", f"{labels.min():g} to {labels.max():g}")
        return entry
    checks.keys(entry, ("labels", "parcels"))
    side = (dataset.label_side,) * 2
    labels = checks.array(entry, "labels", np.uint8, side)
    checks.array(entry, "parcels", np.int64, side)
    wrong = labels[(labels >= count) & (labels != dataset.ignore)]
    void = f", or {dataset.ignore} for unknown" if dataset.ignore >= 0 else ""
    checks.need(not len(wrong), f"labels from 0 to {count - 1}{void}", f"{wrong[0] if len(wrong) else ''}")
    return entry
