"""The sensors of a region as the model sees them: which file holds which of its bands, when, and what a stored number means.

Letters: C bands of the model, T dates, h w pixels of a raster.
"""

import dataclasses
import datetime
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from omnisat_jax.dates import EPOCH, parse_date
from omnisat_jax.errors import UserError
from omnisat_jax.files.geotiff import open_geotiff
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.rasters.file_names import ADVICE
from omnisat_jax.rasters.grid import RasterError, RasterGrid
from omnisat_jax.rasters.offset import added_by_esa
from omnisat_jax.rasters.sources import Layer, Source
from omnisat_jax.words import number_of

# Classes of the Sentinel-2 scene classification that are no view of the ground: no data, saturated, cloud shadow, clouds, cirrus.
SCL_UNKNOWN = (0, 1, 3, 8, 9, 10)
_UNNAMED = re.compile(r"band\d+")  # what `rasters.bands` calls a band without a description


class Raster(Protocol):
    """One raster, wherever it is stored."""

    @property
    def grid(self) -> RasterGrid:
        """Where it lies."""
        ...

    @property
    def text(self) -> str:
        """What it is, for messages."""
        ...

    @property
    def part(self) -> str:
        """Which part of the file or folder it is; "" = all of it."""
        ...

    def read(self, window: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Stored values (C,h,w) of first row, first column, rows and columns, and which of them are measurements."""
        ...


@dataclasses.dataclass(frozen=True)
class File:
    """A GeoTIFF, opened for each read, so that any number of files and threads can be used."""

    layer: Layer
    part = ""

    @property
    def grid(self) -> RasterGrid:
        """Where it lies."""
        return self.layer.grid

    @property
    def text(self) -> str:
        """The file and its date."""
        return self.layer.text

    def read(self, window: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """See `Raster.read`.

        Raises:
          DataError: pixels that cannot be read.
        """
        with open_geotiff(self.layer.path, what="a raster: a GeoTIFF", bands=self.layer.count, advice=ADVICE) as source:
            values, known = source.read(window)
        order = list(self.layer.order)
        if order == list(range(len(values))):
            return values, known
        return values[order], known[order]


@dataclasses.dataclass(frozen=True)
class Piece:
    """A raster with some bands of a sensor. In the model's numbers a value is stored * gain + bias.

    Attributes:
      raster: the pixels.
      bands: positions of the bands among those of the raster.
      places: positions of the same bands among those of the model.
      gain, bias: of each of them.
      no_data: stored values that are no measurements, beside those that the raster declares; 0 in products with an offset.
      masks: rasters of the scene classification of these pixels alone; see `Frame.masks`.
      product: name of what the raster is part of; rasters of one product are used together or not at all. "" = it stands alone.
    """

    raster: Raster
    bands: tuple[int, ...]
    places: tuple[int, ...]
    gain: tuple[float, ...]
    bias: tuple[float, ...]
    no_data: tuple[float, ...] = ()
    masks: tuple[Raster, ...] = ()
    product: str = ""

    @property
    def rasters(self) -> tuple[Raster, ...]:
        """The raster and its masks."""
        return self.raster, *self.masks


@dataclasses.dataclass(frozen=True)
class Frame:
    """What a sensor saw on one date.

    Attributes:
      day: days since 1970-01-01; 0 for an image.
      pieces: where several have a known value, the first one counts.
      masks: rasters of the scene classification; a pixel of a class in SCL_UNKNOWN is unknown.
    """

    day: int
    pieces: tuple[Piece, ...]
    masks: tuple[Raster, ...] = ()

    @property
    def date(self) -> str:
        """ISO date."""
        return (EPOCH + datetime.timedelta(self.day)).isoformat()


@dataclasses.dataclass(frozen=True)
class Sensor:
    """A modality of the model and its measurements.

    Attributes:
      spec: the modality.
      bands: names in model order.
      frames: in the order of dates; one for an image.
      conversion: "", one of CONVERSIONS, or a factor.
      files: that are read; a folder stands for all files in it.
      remarks: what the user should know, in words.
    """

    spec: ModalitySpec
    bands: tuple[str, ...]
    frames: tuple[Frame, ...]
    conversion: str | float = ""
    files: tuple[pathlib.Path, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the modality."""
        return self.spec.name

    @property
    def rasters(self) -> tuple[Raster, ...]:
        """All rasters with values, and masks."""
        return tuple(raster for frame in self.frames for raster in (*(raster for piece in frame.pieces for raster in piece.rasters), *frame.masks))


@dataclasses.dataclass(frozen=True)
class Scaling:
    """The unit of a model's numbers: a physical value is number * scale + offset. None where the training data did not declare it."""

    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None


def _fold(band: str) -> str:
    """Sentinel-2 bands are written B2 or B02."""
    return re.sub(r"^b([0-9])$", r"b0\1", band.strip().casefold())


def match_bands(name: str, wanted: Sequence[str], found: Sequence[str], where: str, advice: str = "") -> tuple[int, ...]:
    """Positions of the model's bands among those of files.

    Args:
      name: of the sensor.
      wanted: names of the model's bands.
      found: names of the files' bands.
      where: the files, for messages.
      advice: what to do if none is found; "" = that for GeoTIFFs.

    Raises:
      RasterError: a band is missing or the names are unknown.
    """
    folded = [_fold(text) for text in found]
    missing = [band for band in wanted if _fold(band) not in folded]
    if missing:
        naming = advice or f"name the bands of the files with {name}=PATH:BAND,BAND, in their order"
        unnamed = not advice and any(_UNNAMED.fullmatch(text) for text in found)  # a file that describes some of its bands only
        advice = naming if len(missing) == len(wanted) or unnamed else "the model needs all of them"
        raise RasterError(
            f"{where}: expected the bands {', '.join(wanted)}, which the model was trained with, found {', '.join(found)} "
            f"(without {', '.join(missing)}); {advice}"
        )
    return tuple(folded.index(_fold(band)) for band in wanted)


def order_bands(spec: ModalitySpec, bands: Sequence[str], found: Sequence[str], where: str, advice: str = "") -> tuple[tuple[int, ...], list[str]]:
    """Positions of the model's bands among those of files, and remarks.

    Args:
      spec: the modality of the model.
      bands: names of its bands; () if the model does not know them.
      found, where, advice: see `match_bands`.

    Raises:
      RasterError: a band is missing, the names are unknown, or there is another number of bands.
    """
    if bands:
        order = match_bands(spec.name, bands, found, where, advice)
        unused = [band for position, band in enumerate(found) if position not in order]
        return order, [f"bands that the model does not know are not used: {', '.join(unused)}"] if unused else []
    if len(found) != spec.channels:
        raise RasterError(f"{where}: expected {number_of(spec.channels, 'band')}, found {len(found)} ({', '.join(found)})")
    return tuple(range(len(found))), [f"the model does not know the names of its bands; they are taken in the order {', '.join(found)}"]


def bind(source: Source, spec: ModalitySpec, bands: Sequence[str], scaling: Scaling, options: PredictOptions, masks: Source | None = None) -> Sensor:
    """A sensor from its files.

    Args:
      source: the files.
      spec: the modality of the model.
      bands: names of its bands in the training data; () if the model does not know them.
      scaling: unit of the training data.
      options: how the map is made.
      masks: scene classification of the same dates, or None.

    Raises:
      UserError: files that are no such sensor.
    """
    if source.kind != spec.kind:
        raise UserError(f"{spec.name}: expected --{spec.kind}, as the model was trained with, found --{source.kind}")
    where, remarks = f"{source.layers[0].path}", list(source.remarks)
    if bands:
        _need_names(source)
    order, words = order_bands(spec, bands, source.bands, where)
    bands, remarks = bands or source.bands, remarks + words
    pieces, words = make_pieces(source, [File(layer) for layer in source.layers], order, scaling, options)
    remarks += words
    clouds = _by_day(masks) if masks else {}
    frames = _frames(source, pieces, clouds)
    if masks and not any(frame.masks for frame in frames):
        raise RasterError(f"{masks.layers[0].path}: expected the scene classification of a date of {spec.name}, found none of them")
    remarks += [f"scene classification: {text}" for text in (masks.remarks if masks else ())]
    files = [layer.path for layer in (*source.layers, *(masks.layers if masks else ()))]
    conversion = options.conversions.get(spec.name, "")
    return Sensor(spec, tuple(bands), frames, conversion, tuple(files), tuple(remarks))


def make_pieces(
    source: Source, rasters: Sequence[Raster], order: Sequence[int], scaling: Scaling, options: PredictOptions, places: Sequence[int] | None = None
) -> tuple[list[Piece], list[str]]:
    """What each raster of a sensor holds, in the model's numbers.

    Args:
      source: what is declared about the values of each raster.
      rasters: one per layer of the source.
      order: positions of bands among those of the source.
      scaling: unit of the training data.
      options: how the map is made.
      places: positions of the same bands among those of the model; None = the source has all of them.

    Returns:
      A piece per raster, and remarks.

    Raises:
      RasterError: Sentinel-2 values that may or may not have an offset.
    """
    places = tuple(range(len(order)) if places is None else places)
    option = options.s2_offsets.get(source.name, "")
    subtracted, _ = added_by_esa(source, option)
    pieces = [
        Piece(raster, tuple(order), places, gain, tuple(b - g * less for g, b in zip(gain, bias)), (0,) if less else ())
        for raster, less, (gain, bias) in zip(rasters, subtracted, _gains(source, order, scaling, places), strict=True)
    ]
    return pieces, [_offset_text(source.name, subtracted, rasters, option)] if any(subtracted) else []


def _offset_text(name: str, subtracted: Sequence[int], rasters: Sequence[Raster], option: str) -> str:
    """What was done about the offset of Sentinel-2 values, and on whose word."""
    count, total, noun = sum(map(bool, subtracted)), len(subtracted), "file" if all(isinstance(raster, File) for raster in rasters) else "raster"
    which = f"{count:,} of {number_of(total, noun)}" if count < total else f"all {number_of(total, noun)}" if total > 1 else f"the {noun}"
    why = f"as --s2_offset {name}={option} says" if option else "as the processing baseline of these products says"
    return f"{max(subtracted):,} was subtracted from the values of {which}, {why}: the offset of Sentinel-2 products of baseline 04.00 and later"


def _need_names(source: Source) -> None:
    """Refuses files whose bands nobody has named: their order would be a guess."""
    silent = next((layer for layer in source.layers if not layer.described and layer.count is None), None)
    if silent is not None:
        raise RasterError(
            f"{silent.path}: expected descriptions of its bands, or names as in {source.name}=PATH:BAND,BAND in the order of the files, found neither"
        )


def _gains(
    source: Source, order: Sequence[int], scaling: Scaling, places: Sequence[int]
) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Per file, gain and bias of the model's bands."""
    shared = len({layer.scales for layer in source.layers}) == 1
    out = []
    for layer in source.layers:
        scale, offset = (np.array([numbers[i] for i in order]) for numbers in (layer.scales, layer.offsets))
        if scaling.scale is not None and (layer.is_scaled or layer.dtype.kind == "f"):
            unit, zero = (np.array([numbers[i] for i in places]) for numbers in (scaling.scale, scaling.offset or [0.0] * len(scaling.scale)))
        elif shared and layer.dtype.kind in "iu":
            unit, zero = scale, np.zeros(len(order))  # stored integers, with the offset of the file, as when tiles are cut
        else:
            unit, zero = np.ones(len(order)), np.zeros(len(order))
        out.append((tuple((scale / unit).tolist()), tuple(((offset - zero) / unit).tolist())))
    return out


def _by_day(source: Source) -> dict[str, list[Layer]]:
    found: dict[str, list[Layer]] = {}
    for layer in source.layers:
        if len(layer.order) != 1 or layer.dtype.kind not in "iu":
            raise RasterError(f"{layer.text}: expected one band of classes (SCL), found {number_of(len(layer.order), 'band')} of {layer.dtype}")
        found.setdefault(layer.day, []).append(layer)
    return found


def _frames(source: Source, pieces: Sequence[Piece], clouds: Mapping[str, Sequence[Layer]]) -> tuple[Frame, ...]:
    days: dict[str, list[Piece]] = {}
    for layer, piece in zip(source.layers, pieces, strict=True):
        days.setdefault(layer.day, []).append(piece)
    return tuple(
        Frame((parse_date(day) - EPOCH).days if day else 0, tuple(found), tuple(File(layer) for layer in clouds.get(day, ())))
        for day, found in sorted(days.items())
    )
