"""How the values of a sensor's files are stored in its tiles: one dtype, scale and offset for all dates, exactly, or a refusal."""

import dataclasses

import numpy as np

from omnisat_jax.missing import NO_DATA_INT16
from omnisat_jax.rasters.grid import RasterError
from omnisat_jax.rasters.offset import BASELINE_OFFSET, added_by_esa
from omnisat_jax.rasters.sources import Layer, Source

HARMONISED_BELOW = BASELINE_OFFSET - 100  # values with the offset are hardly ever lower (reflectance -0.01)
HARMONISED_SHARE = 0.01  # share of known pixels below that, from which values count as harmonized already
_WHOLE = 1e-6  # tolerated relative difference of offset / scale from a whole number, due to rounding
_EXACT_FLOAT32 = 2**24  # float32 represents all integers up to this one
_LOW, _HIGH = NO_DATA_INT16 + 1, np.iinfo(np.int16).max


@dataclasses.dataclass(frozen=True)
class Storage:
    """How the values of a source are stored.

    Attributes:
      source: the sensor.
      dtype: uint8 (nothing unknown), int16 (unknown is NO_DATA_INT16) or float32 (unknown is NaN).
      scale: of each band; a physical value is stored * scale.
      added: per file, what is added to the integers of each band; () if physical values are stored.
      subtracted: per file, the Sentinel-2 offset that is part of `added`, or 0.
      checked: whether values from which an offset is subtracted must look as if they had it.
      baselines: in words, or "-".
    """

    source: Source
    dtype: np.dtype
    scale: tuple[float, ...]
    added: tuple[tuple[int, ...], ...]
    subtracted: tuple[int, ...]
    checked: bool
    baselines: str

    def store(self, position: int, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The pixels of one file as stored in tiles.

        Args:
          position: of the file among the layers.
          values: (C,H,W), bands in the order of the sensor.
          known: (C,H,W) bool.

        Returns:
          (C,H,W) of `dtype`.

        Raises:
          RasterError: values outside the range of the dtype.
        """
        layer = self.source.layers[position]
        if self.dtype == np.float32:
            return self._physical(layer, position, values, known)
        added = np.array(self.added[position], np.int64)[:, None, None]
        for band, name in enumerate(self.source.bands):
            real = values[band][known[band]]
            low, high = (_LOW, _HIGH) if self.dtype == np.int16 else (0, 255)
            if real.size and not (low <= int(real.min()) + int(added[band, 0, 0]) and int(real.max()) + int(added[band, 0, 0]) <= high):
                raise RasterError(
                    f"{layer.text}: expected values from {low - int(added[band, 0, 0])} to {high - int(added[band, 0, 0])} in band {name}, "
                    f"the range of int16, found {real.min()} to {real.max()}; declare fill values as nodata, or store the series as float32 "
                    "(gdal_translate -ot Float32)"
                )
        numbers = np.where(known, values, 0).astype(np.int64) + added
        return np.where(known, numbers, NO_DATA_INT16 if self.dtype == np.int16 else 0).astype(self.dtype)

    def _physical(self, layer: Layer, position: int, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        scale, offset = (np.array(numbers)[:, None, None] for numbers in (layer.scales, layer.offsets))
        real = values[known]
        if values.dtype.kind in "iu" and (scale == 1).all() and real.size and max(abs(int(real.min())), abs(int(real.max()))) > _EXACT_FLOAT32:
            raise RasterError(
                f"{layer.text}: expected integers up to {_EXACT_FLOAT32:,}, which float32 represents exactly, found {real.min()} to {real.max()}; "
                "scale them first"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = np.where(known, values, 0).astype(np.float64) - self.subtracted[position]
            numbers = (numbers * scale + offset).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise RasterError(f"{layer.text}: expected values in the range of float32, found {real.min()} to {real.max()}")
        return np.where(known, numbers, np.float32(np.nan))


def plan_storage(source: Source, s2_option: str = "") -> Storage:
    """How a source is stored, from what all of its files declare.

    Integers stay integers if all files share one scale per band and their offsets are whole multiples of it; the offsets are added, so that
    a value means the same on all dates. Otherwise tiles hold physical values as float32.

    Args:
      source: the sensor.
      s2_option: the user's statement about the offset of Sentinel-2, one of S2_OPTIONS, or "".

    Raises:
      RasterError: files in which the same value may mean different things.
    """
    subtracted, baselines = added_by_esa(source, s2_option)
    layers = source.layers
    floats = any(layer.dtype.kind == "f" for layer in layers)
    shared = len({layer.scales for layer in layers}) == 1
    offsets = [_added(layer, less) for layer, less in zip(layers, subtracted, strict=True)]
    added = tuple(entry for entry in offsets if entry is not None)
    if not shared:
        _refuse_unscaled(source)
    checked = not s2_option and any(subtracted)
    if floats or not shared or len(added) < len(layers):
        return Storage(source, np.dtype(np.float32), (1.0,) * len(source.bands), (), subtracted, checked, baselines)
    plain = all(layer.dtype == np.uint8 and not layer.declares_unknown for layer in layers) and not any(map(any, added))
    return Storage(source, np.dtype(np.uint8 if plain else np.int16), layers[0].scales, added, subtracted, checked, baselines)


def _added(layer: Layer, subtracted: int) -> tuple[int, ...] | None:
    """What is added to the integers of each band; None if an offset is not a whole number of steps."""
    steps = [offset / scale for scale, offset in zip(layer.scales, layer.offsets, strict=True)]
    if any(abs(step) > 2**53 or abs(step - round(step)) > _WHOLE * max(1.0, abs(step)) for step in steps):
        return None
    return tuple(round(step) - subtracted for step in steps)


def _refuse_unscaled(source: Source) -> None:
    """Refuses a file of integers without a scale beside files with one: the meaning of its values is unknown."""
    bare = [layer for layer in source.layers if layer.dtype.kind in "iu" and not layer.is_scaled]
    tagged = [layer for layer in source.layers if layer.is_scaled]
    if bare and tagged:
        raise RasterError(
            f"{bare[0].text}: expected a scale of its bands, as {tagged[0].path} has ({tagged[0].scales[0]:g}), found none; "
            "write it into the file (gdal_edit.py -scale -offset)"
        )


class OffsetCheck:
    """Checks that values from which an offset is subtracted look as if they had it."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self._low, self._known = np.zeros((2, len(storage.source.layers)), np.int64)

    def add(self, position: int, values: np.ndarray, known: np.ndarray) -> None:
        """Counts the pixels of one file; arguments as in `Storage.store`."""
        if self._storage.subtracted[position]:
            self._known[position] += known.sum()
            self._low[position] += (known & (values < HARMONISED_BELOW)).sum()

    def finish(self) -> None:
        """Checks what was counted.

        Raises:
          RasterError: a file looks harmonized already, and the user did not state otherwise.
        """
        source = self._storage.source
        for layer, low, known in zip(source.layers, self._low, self._known, strict=True):
            if self._storage.checked and known and low > HARMONISED_SHARE * known:
                raise RasterError(
                    f"{layer.text}: expected hardly any value below {HARMONISED_BELOW}, as its name implies baseline 04.00 or later, whose values are "
                    f"{BASELINE_OFFSET:,} higher, found {100 * low / known:.1f} %, as if they were harmonized already; if they are, use "
                    f"--s2_offset {source.name}=none, otherwise =subtract"
                )


def known_pixels(storage: Storage, position: int, values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which pixels are measurements. In products with the offset, 0 is unknown whether or not the file declares it."""
    return known & (values != 0) if storage.subtracted[position] else known
