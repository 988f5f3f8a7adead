"""What becomes of a tile with a broken file: preparation ends, the tile is left out, or a modality is masked. Always counted."""

from collections.abc import Iterable

import numpy as np

from data.preparation.options import PreparationOptions
from data.reading.raw import DataError, Entry, RawDataset, absent
from omnisat_jax.errors import UserError
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

BadEntry = dict[str, str]  # {"tile", "part", "action": "masked" | "left out", "message"}


class TooManyBadTiles(UserError):
    """More broken tiles than the limit allows; the message names the first ones."""


def read_tile(work: tuple[RawDataset, PreparationOptions], tile: str) -> tuple[dict | None, list[BadEntry]]:
    """Reads a tile under the options of a preparation.

    Args:
      work: dataset and options.
      tile: its id.

    Returns:
      (example, or None if the tile is left out; one entry {"tile", "part", "action": "masked" | "left out", "message"} per broken file)

    Raises:
      DataError: a broken file, if `on_bad` is "raise"; values beyond float16.
    """
    dataset, options = work
    bad: list[BadEntry] = []

    def note(part: str, error: DataError) -> Entry:
        bad.append({"tile": tile, "part": part, "action": "masked" if options.on_bad == "mask" else "left out", "message": str(error)})
        if part != "labels":
            return absent(dataset.modalities[part])
        return _void(dataset)

    example = dataset.read(tile, None if options.on_bad == "raise" else note)
    sensors = [name for name, modality in dataset.modalities.items() if modality.kind != "location"]
    gone = not any(len(example[name]["values"]) for name in sensors)
    if bad and (options.on_bad == "skip" or gone or (example["labelled"] and not len(example["labels"]))):
        return None, [entry | {"action": "left out"} for entry in bad]
    for name, modality in dataset.modalities.items():
        if options.halves(modality):
            example[name] = example[name] | {"values": _to_float16(example[name]["values"], tile, dataset.path_of(tile, name))}
    return example, bad


def _void(dataset: RawDataset) -> Entry:
    """Labels that are void everywhere; empty where a tile needs labels."""
    if dataset.task != "segment" or dataset.ignore < 0:
        return {"labels": np.zeros(0)}
    return dataset.no_labels()


def _to_float16(values: np.ndarray, tile: str, path: StrPath) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if (np.isinf(half) & np.isfinite(values)).any():
        raise DataError(
            tile=tile, path=path, expected=f"values up to {np.finfo(np.float16).max:g}, to be stored as float16",
            found=f"{np.nanmax(np.abs(values)):g}", advice="Store these data as float32.",
        )  # fmt: skip
    return half


class BadTiles:
    """Counts broken tiles against a limit."""

    def __init__(self, limit: float, total: int, before: Iterable[BadEntry] = ()):
        """
        Args:
          limit: largest share of broken tiles.
          total: number of tiles.
          before: entries of parts that were prepared earlier.
        """
        self._limit, self._total, self._entries = limit, total, list(before)
        self._tiles = {entry["tile"] for entry in self._entries}

    def add(self, entries: Iterable[BadEntry]) -> None:
        """Counts the entries of a tile.

        Raises:
          TooManyBadTiles: the limit is exceeded.
        """
        entries = list(entries)
        self._entries += entries
        self._tiles.update(entry["tile"] for entry in entries)
        if entries:
            self.check()

    def check(self) -> None:
        """Compares all entries with the limit.

        Raises:
          TooManyBadTiles: it is exceeded.
        """
        if len(self._tiles) > self._limit * self._total:
            self.refuse(f"{len(self._tiles)} of {number_of(self._total, 'tile')} are broken, more than data.max_bad = {self._limit:g} allows")

    def refuse(self, why: str) -> None:
        """Raises TooManyBadTiles with the first entries."""
        first = "".join(f"\n  {entry['message']}" for entry in self._entries[:3])
        raise TooManyBadTiles(f"{why}. The first broken ones:{first}\n`python -m data.verify` lists all of them.")
