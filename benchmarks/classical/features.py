"""Features of every label pixel of a tile, by sensor. What a sensor is follows from its band names and kind, never from its values.

Letters: H W label pixels, h w pixels of a sensor, F features.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.classical import series
from benchmarks.classical.texture import texture_features
from omnisat_jax.dates import day_zero
from omnisat_jax.errors import UserError
from omnisat_jax.missing import measured
from omnisat_jax.records.info import ModalityInfo
from omnisat_jax.records.reader import Records

OPTICAL = {band for pair in series.INDICES.values() for band in pair} | {series.BLUE}
UNITS = ("db", "linear")


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """How features are made.

    Attributes:
      modalities: their names, in the order of the columns.
      origin: day 0 of dates, as `data.origin` of a run.
      days: between the days that series are interpolated to, and over which radar is averaged.
      window: side in pixels of the spatial mean of radar, odd.
      optical_window: the same of other series; 1 = none.
      radar_unit: of the records, which do not say: "db" or "linear" (power).
    """

    modalities: tuple[str, ...]
    origin: str = "2018-09-01"
    days: int = 20
    window: int = 3
    optical_window: int = 1
    radar_unit: str = "db"


def role(stored: ModalityInfo) -> str:
    """What a modality is: "optical", "radar", another "series", or an "image"."""
    if stored.kind != "series":
        return stored.kind
    if set(stored.bands) >= OPTICAL:
        return "optical"
    return "radar" if stored.bands and stored.bands[0] in series.POLARISATIONS else "series"


class TileFeatures:
    """Makes the features of tiles of some records; a column means the same for every tile.

    Attributes:
      roles: {modality: see `role`}.
      spans: (series, (first, last) day of the training tiles), which decide the days of the columns.
    """

    def __init__(self, records: Records, config: FeatureConfig, parts: Sequence[str]):
        """Finds the days of the columns.

        Args:
          records: with dense labels.
          config: how features are made.
          parts: that train; their dates decide which days the columns are, and their values whether radar is what it is said to be.

        Raises:
          UserError: a modality that the records lack, that cannot be used, or whose pixels do not fit the labels; radar in another unit.
        """
        self._records, self._config = records, config
        for name in config.modalities:
            self._check(name)
        self._check_radar(parts)
        self._spans = self._find_spans(parts)
        self.spans = tuple(self._spans.items())
        self.roles = {name: role(records.modalities[name]) for name in config.modalities}

    def _check(self, name):
        where, stored = f"{self._records.root}: --modalities {name}", self._records.modalities.get(name)
        usable = [key for key, info in self._records.modalities.items() if info.kind != "location"]
        if stored is None or stored.kind == "location":
            raise UserError(f"{where}: expected some of {', '.join(usable)}; the baseline has no features of anything else")
        side, label_side = stored.shape[0], self._records.label_side
        if stored.shape[0] != stored.shape[1] or max(side, label_side) % min(side, label_side):
            raise UserError(f"{where}: expected square frames whose side divides the {label_side} label pixels or is a multiple, found {stored.shape[:2]}")
        if stored.kind == "series" and side > label_side:
            raise UserError(f"{where}: expected a series no finer than the labels ({label_side} px), found {side} px")
        if stored.kind == "image" and side < label_side:
            raise UserError(f"{where}: expected an image at least as fine as the labels ({label_side} px), found {side} px")

    def _check_radar(self, parts):
        """Decibels of the ground are negative on average, power never is."""
        radar = [name for name in self._config.modalities if role(self._records.modalities[name]) == "radar"]
        statistics = self._records.statistics(parts) if radar else {}
        for name in radar:
            for band, mean in zip(self._records.modalities[name].bands, statistics[name]["mean"]):
                if band in series.POLARISATIONS and (mean < 0) != (self._config.radar_unit == "db"):
                    expected, other = ("decibels, negative on average", "linear") if mean >= 0 else ("linear power", "db")
                    raise UserError(
                        f"{self._records.root}: expected {expected} in {name}, found a mean of {mean:.3g} in band {band} of the training parts; "
                        f"set --radar_unit={other} if that is its unit"
                    )

    def _find_spans(self, parts):
        """{series: (first, last) day of the training tiles, from day 0 of each}."""
        names = [name for name in self._config.modalities if self._records.modalities[name].kind == "series"]
        spans: dict[str, tuple[int, int]] = {}
        source = self._records.source(parts)
        for position in range(len(source)) if names else ():
            example = source[position]
            zero = self._zero(example, names)
            for name in names:
                days = np.asarray(example[name]["dates"])[np.asarray(example[name]["valid"])] - zero
                if len(days):
                    first, last = spans.get(name, (int(days[0]),) * 2)
                    spans[name] = min(first, int(days.min())), max(last, int(days.max()))
        for name in names:
            if name not in spans:
                raise UserError(f"{self._records.root}: expected valid dates of {name} in the training parts {', '.join(parts)}, found none")
        return spans

    def _zero(self, example, names):
        return day_zero(self._config.origin, [example[name]["dates"] for name in names])

    def __call__(self, example: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The features of a tile.

        Args:
          example: of `TileSource`.

        Returns:
          {modality: (H*W,F) float32}; nan in a whole row where nothing is known of the pixel, and everywhere where the tile lacks the modality.

        Raises:
          UserError: values that cannot be used; names the tile.
        """
        zero = self._zero(example, list(self._spans))
        tile = self._records.tile_ids[int(example["tile_index"])]
        makers: dict[str, Callable] = {"optical": self._optical, "radar": self._radar, "series": self._plain, "image": self._image}
        found = {}
        for name, kind in self.roles.items():
            maps = makers[kind](name, example[name], zero, f"{self._records.root}: {name} of tile {tile}")
            repeat = self._records.label_side // maps.shape[0]
            maps = maps.repeat(repeat, 0).repeat(repeat, 1)
            found[name] = maps.reshape(-1, maps.shape[-1]).astype(np.float32)
        return found

    def _read(self, entry, zero):
        """Days (T,), values (T,h,w,C) float64, 0 where unknown, and which pixels are known (T,h,w), by date."""
        order = np.argsort(entry["dates"], kind="stable")
        stored = entry["values"][:] if len(entry["dates"]) else np.zeros((0, *entry["values"].shape[1:]), np.float32)
        known = measured(stored)[order].all(-1) & np.asarray(entry["valid"])[order][:, None, None]
        return np.asarray(entry["dates"])[order] - zero, np.where(known[..., None], stored[order].astype(np.float64), 0.0), known

    def _grid(self, name):
        first, last = self._spans[name]
        return np.arange(first, last + 1, self._config.days)

    def _optical(self, name, entry, zero, where):
        """Bands on regular days after the cloud screen, and the indices of those."""
        stored = self._records.modalities[name]
        bands, (dates, values, known) = stored.bands, self._read(entry, zero)
        values = series.proportional_to_reflectance(values, stored.scale, stored.offset)
        values, known = self._smooth(values, series.clear_pixels(values, known, bands), self._config.optical_window)
        regular = series.interpolate(dates, values, known, self._grid(name))
        return _columns(np.concatenate([regular, series.normalised_differences(regular, bands)], -1))

    def _plain(self, name, entry, zero, where):
        """Bands on regular days."""
        dates, values, known = self._read(entry, zero)
        return _columns(series.interpolate(dates, *self._smooth(values, known, self._config.optical_window), self._grid(name)))

    @staticmethod
    def _smooth(values, known, side):
        return series.window_mean(values, known, side) if side > 1 and known.any() else (values, known)

    def _radar(self, name, entry, zero, where):
        """Decibels of each polarization, and their differences to the first: mean and deviation of each period, and of the whole series.

        Means over a window are those of power, as speckle is multiplicative.
        """
        bands = self._records.modalities[name].bands
        chosen = [index for index, band in enumerate(bands) if band in series.POLARISATIONS]  # ratios are computed again
        dates, values, known = self._read(entry, zero)
        values = values[..., chosen]
        power = 10 ** (values / 10) if self._config.radar_unit == "db" else values
        if (power[known] < 0).any():
            raise UserError(f"{where}: expected linear power, which is not negative, found {power[known].min():.3g}")
        power, known = self._smooth(power, known, self._config.window)
        known = known & (power > 0).all(-1)
        decibels = 10 * np.log10(np.where(known[..., None], power, 1.0))
        decibels = np.concatenate([decibels, decibels[..., :1] - decibels[..., 1:]], -1)
        first, last = self._spans[name]
        edges = first + self._config.days * np.arange(math.ceil((last + 1 - first) / self._config.days) + 1)
        means = [*series.period_statistics(dates, decibels, known, edges), *series.period_statistics(dates, decibels, known, edges[[0, -1]])]
        return _columns(np.concatenate(means))

    def _image(self, name, entry, zero, where):
        """Brightness and texture."""
        side, shape = self._records.label_side, self._records.modalities[name].shape
        if not len(entry["values"]):
            return np.full((side, side, texture_features(np.zeros(shape), side).shape[-1]), np.nan, np.float32)
        image = entry["values"][0]
        if not measured(image).all():
            raise UserError(f"{where}: expected an image without unknown values, found {int((~measured(image)).any(-1).sum())} unknown pixels; leave {name} out of --modalities")
        return texture_features(image, side)


def _columns(maps: np.ndarray) -> np.ndarray:
    """(G,H,W,C) as (H,W,G*C)."""
    return np.moveaxis(maps, 0, 2).reshape(*maps.shape[1:3], -1)
