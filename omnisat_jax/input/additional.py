"""Additional records, which only pre-training uses: whether their sensors are those of the main data, and their tiles in the form of its tiles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.records.info import DatasetInfo, ModalityInfo
from omnisat_jax.records.reader import Records, TileSource
from omnisat_jax.records.units import band_of_other_unit
from omnisat_jax.types import StrPath

SAME_RESOLUTION = 0.05  # tolerated relative difference, as projections stretch the ground


def additional_grid(folder: StrPath, info: DatasetInfo, specs: Sequence[ModalitySpec], main: DatasetInfo) -> int:
    """Tokens per tile side of additional records, after a check that their sensors are those of the main data, or some of them.

    Args:
      folder: of the additional records, for messages.
      info: their description.
      specs: modalities of the run.
      main: description of the main data.

    Raises:
      UserError: a sensor that the main data do not have, or of another kind, form or resolution; tiles that are no grid of patches.
    """
    where = f"data.pretrain_dirs: {folder}"
    sensors = {name: stored for name, stored in info.modalities.items() if stored.kind != "location"}
    for name in sensors:
        if name not in main.modalities:
            raise UserError(
                f"{where}: expected sensors of the main data ({', '.join(main.modalities)}), found {name}; prepare these records without it"
            )
    grids = {}
    for spec in specs:
        if spec.name in sensors:
            stored = sensors[spec.name]
            _need_same(f"{where}: {spec.name}", stored, main.modalities[spec.name], spec)
            height, width, _ = stored.shape
            if height != width or height % spec.patch:
                raise UserError(f"{where}: {spec.name}: expected square tiles of a multiple of {spec.patch} px (its patch), found {height}x{width}")
            grids[spec.name] = height // spec.patch
    if not grids:
        raise UserError(f"{where}: expected at least one of the sensors of the run ({', '.join(spec.name for spec in specs)}), found none")
    if len(set(grids.values())) > 1:
        raise UserError(f"{where}: expected tiles of the same ground for every sensor, found patches per side: {grids}")
    return next(iter(grids.values()))


def _need_same(where: str, stored: ModalityInfo, main: ModalityInfo, spec: ModalitySpec) -> None:
    """Refuses a sensor that is stored in another form than in the main data."""
    for what in ("kind", "bands", "dtype"):
        expected, found = getattr(main, what), getattr(stored, what)
        if expected != found:
            texts = [" ".join(value) if isinstance(value, tuple) else value for value in (expected, found)]
            advice = " (data.float16 of both must agree)" if what == "dtype" and "float16" in texts else ""
            raise UserError(f"{where}: expected {what} {texts[0]}, as in the main data, found {texts[1]}{advice}")
    for what in ("scale", "offset"):
        expected, found = getattr(main, what), getattr(stored, what)
        if expected and found and not np.allclose(expected, found, rtol=1e-9, atol=0):
            raise UserError(f"{where}: expected {what} {list(expected)}, as in the main data, found {list(found)}")
    resolution = main.resolution or spec.resolution  # records of earlier versions do not keep it
    if not stored.resolution:
        raise UserError(
            f"{where}: expected pixels of {resolution:g} m, found records that do not say how large their pixels are; prepare them again, from "
            "georeferenced files"
        )
    if abs(stored.resolution - resolution) > SAME_RESOLUTION * resolution:
        raise UserError(f"{where}: expected pixels of {resolution:g} m, as in the main data, found {stored.resolution:g} m")


def need_same_units(records: Records, statistics: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Refuses additional records whose values cannot have the units of the main data, by the standard deviations of their bands.

    Args:
      records: the additional ones.
      statistics: of the main data, see `Records.statistics`.

    Raises:
      UserError: names the band.
    """
    found = records.known_statistics(records.parts)
    for name in found.keys() & statistics.keys():
        if records.modalities[name].kind == "location":
            continue
        here, there = found[name]["std"], statistics[name]["std"]
        if (band := band_of_other_unit(there, here)) is not None:
            raise UserError(
                f"data.pretrain_dirs: {records.root}: {name}: expected values of band {records.modalities[name].bands[band]} in the unit of the main "
                f"data, whose standard deviation is {there[band]:.3g}, found {here[band]:.3g}; convert one of them"
            )


class AdditionalTiles:
    """All tiles of additional records, in the form of tiles of the main data: a data source for Grain.

    A modality that they lack is absent, and they have no labels.
    """

    def __init__(self, records: Records, specs: Mapping[str, ModalityInfo], first_index: int):
        """
        Args:
          records: the additional ones.
          specs: {modality of the run: how the main data store it}.
          first_index: `tile_index` of the first tile.
        """
        self._source: TileSource = records.every_tile(records.parts)
        self._lacking = {name: _absent(stored) for name, stored in specs.items() if name not in records.modalities}
        self._first_index = first_index

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns a stored example as `TileSource` does; its "labels" are None."""
        example = self._source[index]
        example.pop("parcels", None)
        return example | self._lacking | {"labels": None, "tile_index": np.int32(self._first_index + example["tile_index"])}


def _absent(stored: ModalityInfo) -> dict[str, np.ndarray]:
    """The entry of a modality that a tile lacks."""
    entry = {"values": np.zeros((0, *stored.shape), stored.dtype)}
    return entry | ({"dates": np.zeros(0, np.int32), "valid": np.zeros(0, bool)} if stored.kind == "series" else {})
