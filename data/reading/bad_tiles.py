"""What becomes of a tile with a broken file: the end of the preparation, a tile left out, or a modality masked. Always counted."""

import dataclasses

import numpy as np

from data.reading.raw import DataError, RawDataset, absent
from omnisat_jax.errors import UserError

POLICIES = ("raise", "skip", "mask")


class TooManyBadTiles(UserError):
    """More broken tiles than the limit allows; the message names the first ones."""


@dataclasses.dataclass(frozen=True)
class Form:
    """How tiles are read and stored.

    Attributes:
      on_bad: "raise" (a broken file ends the preparation), "skip" (its tile is left out) or "mask" (its modality counts as absent, broken
        dense labels as void; a tile of which nothing is left, or whose tile labels are broken, is left out).
      float16: store float32 modalities as float16.
    """

    on_bad: str = "raise"
    float16: bool = False


def read_tile(work: tuple[RawDataset, Form], tile: str):
    """One tile of `work` under its form.

    Returns:
      (example or None where the tile is left out, [{"tile", "part", "action": "masked" | "left out", "message"}])

    Raises:
      DataError: a broken file where `on_bad` is "raise"; numbers beyond float16.
    """
    dataset, form = work
    bad = []

    def note(part, error):
        bad.append({"tile": tile, "part": part, "action": "masked" if form.on_bad == "mask" else "left out", "message": str(error)})
        if part != "labels":
            return absent(dataset.modalities[part])
        return _void(dataset)

    example = dataset.read(tile, None if form.on_bad == "raise" else note)
    sensors = [name for name, modality in dataset.modalities.items() if modality.kind != "location"]
    gone = not any(len(example[name]["values"]) for name in sensors)
    if bad and (form.on_bad == "skip" or gone or not len(example["labels"])):
        return None, [entry | {"action": "left out"} for entry in bad]
    if form.float16:
        for name, modality in dataset.modalities.items():
            if modality.dtype == "float32" and modality.kind != "location":
                example[name] = example[name] | {"values": _half(example[name]["values"], tile, dataset.path_of(tile, name))}
    return example, bad


def _void(dataset):
    """Labels that say nothing; empty where a tile cannot be without."""
    if dataset.task != "segment" or dataset.ignore < 0:
        return {"labels": np.zeros(0)}
    shape = (dataset.label_side,) * 2
    return {"labels": np.full(shape, dataset.ignore, np.uint8), "parcels": np.zeros(shape, np.int64)}


def _half(values, tile, path):
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if (np.isinf(half) & np.isfinite(values)).any():
        raise DataError(
            tile=tile, path=path, expected=f"numbers up to {np.finfo(np.float16).max:g}, to be stored as float16",
            found=f"{np.nanmax(np.abs(values)):g}", advice="Store these data as float32.",
        )  # fmt: skip
    return half


def stored_dtype(modality, form: Form) -> str:
    """Dtype of a modality's values in records."""
    return "float16" if form.float16 and modality.dtype == "float32" and modality.kind != "location" else modality.dtype


class BadTiles:
    """Counts them against a limit."""

    def __init__(self, limit: float, total: int, before=()):
        """limit: largest share of `total` tiles; before: entries of earlier parts."""
        self._limit, self._total, self._entries = limit, total, list(before)

    def add(self, entries):
        """Raises TooManyBadTiles where the limit is passed."""
        self._entries += entries
        tiles = {entry["tile"] for entry in self._entries}
        if entries and len(tiles) > self._limit * self._total:
            self.refuse(f"{len(tiles)} of {self._total} tiles are broken, more than data.max_bad = {self._limit:g} allows")

    def refuse(self, why: str):
        """Raises TooManyBadTiles, with the first of them."""
        first = "".join(f"\n  {entry['message']}" for entry in self._entries[:3])
        raise TooManyBadTiles(f"{why}. The first broken ones:{first}\n`python -m data.verify` lists all of them.")
