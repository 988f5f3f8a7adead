"""How the values of a sensor's files are stored in its tiles: one dtype, scale and offset for all dates, exactly, or a refusal."""

import dataclasses
import datetime
import re
from collections.abc import Sequence

import numpy as np

from data.reading.sentinel import BASELINE_OFFSET, BASELINE_WITH_OFFSET, product_baseline
from data.tiles.grid import CutError
from data.tiles.sources import Layer, Source, sensing_date
from omnisat_jax.missing import NO_DATA_INT16

S2_OPTIONS = ("subtract", "from_2022", "none")
_S2_PRODUCT = re.compile(r"(?<![A-Za-z0-9])(S2[A-D]?|Sentinel-?2[A-D]?)(?![A-Za-z0-9])", re.IGNORECASE)
_S2_OFFSET_BEGAN = datetime.date(2022, 1, 25)  # since then, ESA processes with baseline 04.00 or later
HARMONISED_BELOW = BASELINE_OFFSET - 100  # values with the offset are hardly ever lower (reflectance -0.01)
HARMONISED_SHARE = 0.01  # share of known pixels below that, from which values count as harmonised already
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
          CutError: values outside the range of the dtype.
        """
        layer = self.source.layers[position]
        if self.dtype == np.float32:
            return self._physical(layer, position, values, known)
        added = np.array(self.added[position], np.int64)[:, None, None]
        for band, name in enumerate(self.source.bands):
            real = values[band][known[band]]
            low, high = (_LOW, _HIGH) if self.dtype == np.int16 else (0, 255)
            if real.size and not (low <= int(real.min()) + int(added[band, 0, 0]) and int(real.max()) + int(added[band, 0, 0]) <= high):
                raise CutError(
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
            raise CutError(
                f"{layer.text}: expected integers up to {_EXACT_FLOAT32:,}, which float32 represents exactly, found {real.min()} to {real.max()}; "
                "scale them first"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = np.where(known, values, 0).astype(np.float64) - self.subtracted[position]
            numbers = (numbers * scale + offset).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise CutError(f"{layer.text}: expected values in the range of float32, found {real.min()} to {real.max()}")
        return np.where(known, numbers, np.float32(np.nan))


def plan_storage(source: Source, s2_option: str = "") -> Storage:
    """How a source is stored, from what all of its files declare.

    Integers stay integers if all files share one scale per band and their offsets are whole multiples of it; the offsets are added, so that
    a value means the same on all dates. Otherwise tiles hold physical values as float32.

    Args:
      source: the sensor.
      s2_option: the user's statement about the offset of Sentinel-2, one of S2_OPTIONS, or "".

    Raises:
      CutError: files in which the same value may mean different things.
    """
    subtracted, baselines = _sentinel_2(source, s2_option)
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
    bare = [layer for layer in source.layers if layer.dtype.kind in "iu" and not _tagged(layer)]
    tagged = [layer for layer in source.layers if _tagged(layer)]
    if bare and tagged:
        raise CutError(
            f"{bare[0].text}: expected a scale of its bands, as {tagged[0].path} has ({tagged[0].scales[0]:g}), found none; "
            "write it into the file (gdal_edit.py -scale -offset)"
        )


def _tagged(layer: Layer) -> bool:
    return any(scale != 1 for scale in layer.scales) or any(layer.offsets)


def _sentinel_2(source: Source, option: str) -> tuple[tuple[int, ...], str]:
    """Per file, the offset that ESA added (baseline 04.00 and later) and no tag of the file removes; and the baselines in words."""
    layers = source.layers
    products = [bool(_S2_PRODUCT.search(layer.path.stem)) and layer.dtype != np.uint8 for layer in layers]
    baselines = [product_baseline(layer.path.stem) if is_product else None for layer, is_product in zip(layers, products, strict=True)]
    nothing = (0,) * len(layers)
    if option == "none" or not (option or any(products)):
        return nothing, _words(products, baselines, nothing)
    with_offset = [baseline is not None and baseline >= BASELINE_WITH_OFFSET for baseline in baselines]
    if option == "from_2022":
        days = [day for layer in layers if (day := sensing_date(layer))]
        if len(days) < len(layers):
            raise CutError(f"{layers[0].path}: expected a date in the file's name for --s2_offset {source.name}=from_2022, found none")
        with_offset = [
            day >= _S2_OFFSET_BEGAN if baseline is None else later
            for day, baseline, later in zip(days, baselines, with_offset, strict=True)
        ]
    elif option == "subtract":
        with_offset = [baseline is None or later for baseline, later in zip(baselines, with_offset, strict=True)]
    else:
        _refuse_unclear(source, products, baselines, with_offset)
    # The offset in the tags of a file takes precedence.
    subtracted = tuple(BASELINE_OFFSET * (later and not any(layer.offsets)) for layer, later in zip(layers, with_offset, strict=True))
    return subtracted, _words(products, baselines, subtracted)


def _refuse_unclear(
    source: Source, products: Sequence[bool], baselines: Sequence[int | None], with_offset: Sequence[bool]
) -> None:
    """Refuses Sentinel-2 files that may or may not have the offset, beside files for which this is known."""
    advice = (
        f"state it with --s2_offset {source.name}=subtract (all but those of earlier baselines have it), "
        f"={S2_OPTIONS[1]} (those sensed from 25 January 2022 on have it) or =none (the values are harmonised already)"
    )
    rows = list(zip(source.layers, baselines, with_offset, strict=True))
    later = [layer for layer, _, has in rows if has]
    scaled = [layer for layer in later if not any(layer.offsets) and any(scale != 1 for scale in layer.scales)]
    if scaled:
        raise CutError(
            f"{scaled[0].text}: expected an offset beside the scale {scaled[0].scales[0]:g}, as values of baseline 04.00 and later are "
            f"{BASELINE_OFFSET:,} higher, found none; {advice}"
        )
    unclear = [layer for layer, baseline, _ in rows if baseline is None and not _tagged(layer)]
    if later and unclear:
        raise CutError(
            f"{unclear[0].text}: expected a processing baseline in the name (N0301), as {later[0].path.name} is of 04.00 or later and "
            f"its values are {BASELINE_OFFSET:,} higher, found none; {advice}"
        )
    if not all(products) or any(map(_tagged, source.layers)) or any(layer.dtype.kind == "f" for layer in source.layers):
        return
    ages = {day >= _S2_OFFSET_BEGAN for layer in unclear if (day := sensing_date(layer))}
    if len(ages) == 2:
        raise CutError(
            f"{unclear[-1].text}: expected a processing baseline in the name (N0400) or an offset in the tags, as ESA's values are "
            f"{BASELINE_OFFSET:,} higher from 25 January 2022 on and the series has dates before and after, found none; {advice}"
        )


def _words(products: Sequence[bool], baselines: Sequence[int | None], subtracted: Sequence[int]) -> str:
    if not any(products) and not any(subtracted):
        return "-"
    counts = {}
    for baseline, less in zip(baselines, subtracted, strict=True):
        name = f"N{baseline:04d}" if baseline is not None else "unknown"
        key = f"{name} -{less:,}" if less else name
        counts[key] = counts.get(key, 0) + 1
    return ", ".join(f"{key}: {count}" for key, count in sorted(counts.items()))


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
          CutError: a file looks harmonised already, and the user did not state otherwise.
        """
        source = self._storage.source
        for layer, low, known in zip(source.layers, self._low, self._known, strict=True):
            if self._storage.checked and known and low > HARMONISED_SHARE * known:
                raise CutError(
                    f"{layer.text}: expected hardly any value below {HARMONISED_BELOW}, as its name implies baseline 04.00 or later, whose values are "
                    f"{BASELINE_OFFSET:,} higher, found {100 * low / known:.1f} %, as if they were harmonised already; if they are, use "
                    f"--s2_offset {source.name}=none, otherwise =subtract"
                )


def known_pixels(storage: Storage, position: int, values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which pixels are measurements. In products with the offset, 0 is unknown whether or not the file declares it."""
    return known & (values != 0) if storage.subtracted[position] else known
