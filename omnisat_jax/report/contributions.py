"""What each test tile and each parcel contributes to the scores of a run: collected during the evaluation, written, and read again.

tiles.npz and parcels.npz let reports and studies resample tiles and parcels without evaluating again.

Letters: N tiles, S subsets of modalities, B batch, H W label pixels, K classes, E entries.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnisat_jax.errors import DataError
from omnisat_jax.metrics.intervals import Parcels, Tiles
from omnisat_jax.metrics.parcels import ParcelCounts, UnitCounts, parcel_confusion
from omnisat_jax.records.reader import Records
from omnisat_jax.report.run_files import read_arrays
from omnisat_jax.report.saving import save_arrays
from omnisat_jax.types import StrPath

TILES, PARCELS = "tiles.npz", "parcels.npz"  # in the folder of a run
_COLUMNS = ("subset", "unit", "label", "predicted", "pixels")


class TileCollector:
    """Keeps what each test tile contributes to the scores, so that a study can resample tiles."""

    def __init__(self, tile_names: Sequence[str]):
        """tile_names: in the order of `tile_index`."""
        self._tile_names = tile_names
        self._kept: dict[str, list] = {"tile": [], "some": [], "counts": [], "predicted": [], "labels": []}

    def __call__(self, result: Mapping[str, np.ndarray]) -> None:
        """Keeps the tiles of a batch; `result` is what `evaluate` returned for it."""
        rows = np.flatnonzero(result["weight"] > 0)
        self._kept["tile"] += [self._tile_names[index] for index in result["tile_index"][rows]]
        self._kept["some"].append(result["has_any"][:, rows].swapaxes(0, 1))
        if "tiles" in result:
            self._kept["counts"].append(result["tiles"][:, rows].swapaxes(0, 1))
        else:
            self._kept["predicted"].append(result["predicted"][:, rows].swapaxes(0, 1))
            self._kept["labels"].append(result["labels"][rows])

    def save(self, path: StrPath) -> None:
        """Writes a .npz file with the subsets in the order of results.json.

        Its arrays are "tile" (N,), "some" (N,S), whether a tile counts for a subset, and "counts" (N,S,K,K+1) of dense labels, or
        "predicted" (N,S,K) and "labels" (N,K) of tile labels.
        """
        arrays = {name: np.concatenate(values) for name, values in self._kept.items() if values and name != "tile"}
        save_arrays(path, {"tile": np.array(self._kept["tile"]), **arrays})


class ParcelCollector:
    """Counts the pixels of each parcel of the test tiles.

    Batches hold no parcels, as no model sees them: their numbers are read from the records for the tiles of a result.
    """

    def __init__(self, records: Records, parts: Sequence[str], subsets: int):
        """
        Args:
          records: with dense labels.
          parts: that are tested.
          subsets: S.
        """
        self._source = records.source(parts)
        first = {tile: index for index, tile in enumerate(records.tile_ids)}
        self._positions = {first[tile]: position for position, tile in enumerate(records.labelled_tiles(parts))}
        self._classes, self._found = len(records.classes), False
        self._counts = [ParcelCounts(self._classes, records.ignore) for _ in range(subsets)]

    def __call__(self, result: Mapping[str, np.ndarray]) -> None:
        """Adds the tiles of a batch.

        Args:
          result: "predicted" (S,B,H,W) classes, "has_any" (S,B), "tile_index" and "weight" (B,), as `evaluate` returns them.
        """
        for row in np.flatnonzero(result["weight"] > 0):
            index = int(result["tile_index"][row])
            tile = self._source[self._positions[index]]
            self._found |= bool((tile["parcels"] > 0).any())
            for counts, has_any, predicted in zip(self._counts, result["has_any"][:, row], result["predicted"][:, row], strict=True):
                if has_any:
                    counts.add(tile["parcels"], tile["labels"], predicted, index)

    def compute(self) -> list[UnitCounts]:
        """The counts of each subset; [] where no test tile has a parcel."""
        return [counts.compute() for counts in self._counts] if self._found else []

    def confusions(self) -> list[np.ndarray]:
        """The votes of the parcels for each subset, (K,K+1) as `parcel_confusion`; [] where no test tile has a parcel."""
        return [parcel_confusion(counts, self._classes) for counts in self.compute()]

    def save(self, path: StrPath) -> None:
        """Writes a .npz file, or none where no test tile has a parcel.

        Its arrays are "subset", the index in results.json, "unit", "label", "predicted" and "pixels" (E,), see `UnitCounts`.
        """
        found = self.compute()
        if found:
            subset = np.repeat(np.arange(len(found)), [len(counts.unit) for counts in found])
            columns = {name: np.concatenate([getattr(counts, name) for counts in found]) for name in _COLUMNS[1:]}
            save_arrays(path, {"subset": subset, **columns})


def read_tiles(folder: StrPath, results: Mapping[str, Any], position: int) -> Tiles:
    """Reads what the tiles of tiles.npz of a run contribute that are scored: those that hold a modality of the subset, as far as the file knows.

    Args:
      folder: of the run.
      results: its results.json.
      position: index of the subset of modalities.

    Raises:
      DataError: the file is missing or damaged, or does not belong to these results.
    """
    protocol, path = results["protocol"], pathlib.Path(folder) / TILES
    arrays = read_arrays(path, "the contribution of each test tile to the scores")
    dense, classes = results["task"] == "segment", len(protocol["classes"])
    subsets, count = len(results["subsets"]), arrays.get("tile", np.zeros(0)).shape
    shape = (*count, subsets, classes)
    expected = {"tile": count} | ({"counts": (*shape, classes + 1)} if dense else {"predicted": shape, "labels": (*count, classes)})
    expected |= {"some": (*count, subsets)} if "some" in arrays else {}
    found = {name: array.shape for name, array in arrays.items()}
    if len(count) != 1 or not count[0] or not expected.items() <= found.items():
        raise DataError(tile="-", path=path, expected=f"arrays {expected}", found=f"{found}", advice="Evaluate the run again.")
    order = np.argsort(arrays["tile"])
    if "some" in arrays:
        order = order[arrays["some"][order, position]]
    arrays = {key: value[order] for key, value in arrays.items()}
    counts = predicted = labels = None
    if dense:
        counts = arrays["counts"][:, position].astype(np.float64)
    else:
        predicted, labels = arrays["predicted"][:, position], arrays["labels"]
    return Tiles(
        names=tuple(arrays["tile"].tolist()),
        counts=counts,
        predicted=predicted,
        labels=labels,
        classes=tuple(protocol["classes"]),
        unscored=tuple(protocol["unscored"]),
        threshold=protocol["threshold"],
    )


def read_parcels(folder: StrPath, results: Mapping[str, Any], position: int) -> Parcels | None:
    """Reads parcels.npz of a run; None for a run without parcels.

    Args:
      folder: of the run.
      results: its results.json.
      position: index of the subset of modalities.

    Raises:
      DataError: the file is missing, though results.json has scores of parcels, or damaged, or does not belong to these results.
    """
    entry, protocol, path = results["subsets"][position], results["protocol"], pathlib.Path(folder) / PARCELS
    if "parcels" not in entry:
        return None
    arrays, classes = read_arrays(path, "the contribution of each parcel to the scores"), len(protocol["classes"])
    found = {name: (array.shape, array.dtype.kind) for name, array in arrays.items()}
    rows = arrays.get("subset", np.zeros(0)).shape
    if found != dict.fromkeys(_COLUMNS, (rows, "i")) or len(rows) != 1:
        raise DataError(
            tile="-", path=path, expected=f"arrays {', '.join(_COLUMNS)} of equally many whole numbers", found=f"{found}", advice="Evaluate the run again."
        )
    mine = arrays["subset"] == position
    counts = UnitCounts(*(arrays[name][mine].astype(np.int64) for name in _COLUMNS[1:]))
    inside = (counts.label >= 0) & (counts.label < classes) & (counts.predicted >= 0) & (counts.predicted <= classes) & (counts.pixels > 0)
    if not inside.all() or parcel_confusion(counts, classes).tolist() != entry["parcels"]["confusion"]:
        raise DataError(
            tile="-", path=path, expected="the parcels of results.json", found="other ones", advice="Evaluate the run again."
        )
    return Parcels.of(counts, protocol["classes"], protocol["unscored"])
