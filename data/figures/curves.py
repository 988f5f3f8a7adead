"""How the regions of a tile change over time: NDVI or backscatter of its parcels, its classes, or the whole tile."""

import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data.preparation.summary import clear_dates
from data.reading.raw import RawDataset, RawModality, known_values
from data.verification import units
from data.verification.calendars import date_of
from omnisat_jax.report.pictures import class_colours

REGIONS = 6  # parcels or classes with a curve
LAYERS = 2  # bands with a curve each, if no index can be computed from them
INFRARED = ("NIR", "B08")
RED = ("R", "B04")


@dataclasses.dataclass(frozen=True)
class Region:
    """Part of a tile whose mean is drawn over time.

    Attributes:
      colour: of its curve, RGB in [0, 1].
      mask: (side, side) bool.
    """

    colour: Any
    mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Panel:
    """The curves of one quantity.

    Attributes:
      title, unit: shown beside the axes.
      dates: of the values.
      curves: name of a region -> (color, values on `dates`).
    """

    title: str
    unit: str
    dates: list[datetime.date]
    curves: Mapping[str, tuple[Any, np.ndarray]]


def band_position(bands: Sequence[str], names: Sequence[str]) -> int | None:
    """The position of the first of `names` that occurs among the names of bands, or None."""
    return next((bands.index(name) for name in names if name in bands), None)


def ndvi(values: np.ndarray, modality: RawModality, red: int, infrared: int) -> np.ndarray:
    """The normalized difference vegetation index (Rouse et al. 1974), of reflectance: an offset of stored values would lower it.

    Args:
      values: (...,C) float32, as stored.
      modality: with scale and offset of the bands, if they are declared.
      red, infrared: positions of the bands.

    Returns:
      (...) float32; NaN where the sum of both bands is about 0.
    """
    unit = modality.scale[infrared] if modality.scale else 1.0

    def of(band: int) -> np.ndarray:
        """Reflectance in units of the stored near infrared."""
        scale, offset = (numbers[band] if numbers else default for numbers, default in ((modality.scale, unit), (modality.offset, 0.0)))
        return values[..., band] * np.float32(scale / unit) + np.float32(offset / unit)

    with np.errstate(invalid="ignore", over="ignore"):
        total = of(red) + of(infrared)
        return (of(infrared) - of(red)) / np.where(np.abs(total) > (1e-3 if modality.dtype == "float32" else 1), total, np.nan)


def curve_panels(dataset: RawDataset, name: str, example: dict[str, Any]) -> Iterator[Panel]:
    """The curves of one series: NDVI where it can be computed, otherwise bands, preferably of radar.

    Args:
      dataset: the dataset of the tile.
      name: of the series.
      example: from `RawDataset.read`.
    """
    modality, entry = dataset.modalities[name], example[name]
    if not entry["valid"].any():
        return
    values, known = entry["values"].astype(np.float32), known_values(entry["values"])
    red, infrared = band_position(modality.bands, RED), band_position(modality.bands, INFRARED)
    dates = entry["valid"]
    if red is not None and infrared is not None:
        wanted = [(f"{name}: NDVI of clear dates", "NDVI", ndvi(values, modality, red, infrared), known[..., red] & known[..., infrared])]
        if modality.dtype == "int16":
            usable = np.flatnonzero(dates)
            dates = np.zeros(len(values), bool)
            dates[usable[clear_dates(entry["values"][usable])]] = True
    else:
        radar = [i for i, band in enumerate(modality.bands) if units.quantity_of("", band, "series") == units.BACKSCATTER]
        shown = radar or list(range(values.shape[-1]))[:LAYERS]
        wanted = [(f"{name}: {modality.bands[i]}", "as stored", values[..., i], known[..., i]) for i in shown]
    days = [date_of(number) for number in entry["dates"][dates]]
    for title, unit, layer, usable in wanted:
        curves = {}
        for label, region in regions(dataset, example, layer.shape[1]).items():
            inside = np.where(usable & region.mask, layer, np.nan)[dates].reshape(int(dates.sum()), layer[0].size)
            some = np.isfinite(inside).any(1)
            means = np.full(len(inside), np.nan)
            means[some] = np.nanmean(inside[some], 1)
            curves[label] = region.colour, means
        yield Panel(title, unit, days, curves)


def regions(dataset: RawDataset, example: dict[str, Any], side: int) -> dict[str, Region]:
    """{name: Region}: large parcels of different classes, or classes, or the whole tile.

    Args:
      dataset: the dataset of the tile.
      example: from `RawDataset.read`.
      side: pixels per side of the masks, which may be finer or coarser than the labels; labels are sampled at the centers of these pixels.
    """
    whole = {"whole tile": Region((0.2, 0.2, 0.2), np.ones((side, side), bool))}
    if dataset.task != "segment":
        return whole
    at = ((np.arange(side) + 0.5) * dataset.label_side / side).astype(int)
    labels, parcels = (example[key][np.ix_(at, at)] for key in ("labels", "parcels"))
    labelled = labels < len(dataset.classes)
    colours = class_colours(len(dataset.classes), dataset.colours)
    numbers, counts = np.unique(parcels[labelled & (parcels > 0)], return_counts=True)
    found, used = {}, set()
    for number in numbers[np.argsort(-counts, kind="stable")]:
        mask = (parcels == number) & labelled
        label = int(np.bincount(labels[mask]).argmax())
        if label not in used:
            used.add(label)
            found[f"{dataset.classes[label]} (parcel {number})"] = Region(colours[label], mask)
    if not found:
        kinds, counts = np.unique(labels[labelled], return_counts=True)
        found = {dataset.classes[k]: Region(colours[k], labels == k) for k in kinds[np.argsort(-counts, kind="stable")]}
    return dict(list(found.items())[:REGIONS]) or whole
