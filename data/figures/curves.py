"""What the places of a tile do over time: NDVI or backscatter of its parcels, its classes, or the whole tile."""

import numpy as np

from data.preparation.summary import clear_dates
from data.reading.raw import known_values
from data.verification import units
from data.verification.calendars import day
from omnisat_jax.report.pictures import class_colours

PLACES = 6  # parcels or classes whose curves are drawn
LAYERS = 2  # bands with a curve each, where no index can be made of them
INFRARED = ("NIR", "B08")
RED = ("R", "B04")


def position(bands, names) -> int | None:
    """Of the first of `names` among the names of bands."""
    return next((bands.index(name) for name in names if name in bands), None)


def curves(dataset, name: str, modality, example):
    """(title, unit, {place: (colour, dates, values)}) of one series: NDVI, or bands, radar's first.

    Args:
      dataset: RawDataset.
      name, modality: of the series.
      example: from `RawDataset.read`.
    """
    entry = example[name]
    if not entry["valid"].any():
        return
    values, known = entry["values"].astype(np.float32), known_values(entry["values"])
    red, infrared = position(modality.bands, RED), position(modality.bands, INFRARED)
    dates = entry["valid"]
    if red is not None and infrared is not None:
        total = values[..., red] + values[..., infrared]
        with np.errstate(invalid="ignore", over="ignore"):
            index = (values[..., infrared] - values[..., red]) / np.where(np.abs(total) > (1e-3 if modality.dtype == "float32" else 1), total, np.nan)
        wanted = [(f"{name}: NDVI of clear dates", "NDVI", index, known[..., red] & known[..., infrared])]
        if modality.dtype == "int16":
            usable = np.flatnonzero(dates)
            dates = np.zeros(len(values), bool)
            dates[usable[clear_dates(entry["values"][usable])]] = True
    else:
        radar = [i for i, band in enumerate(modality.bands) if units.quantity_of("", band, "series") == units.BACKSCATTER]
        shown = radar or list(range(values.shape[-1]))[:LAYERS]
        wanted = [(f"{name}: {modality.bands[i]}", "as stored", values[..., i], known[..., i]) for i in shown]
    days = [day(number) for number in entry["dates"][dates]]
    for title, unit, layer, usable in wanted:
        lines = {}
        for place, (colour, mask) in places(dataset, example, layer.shape[1]).items():
            inside = np.where(usable & mask, layer, np.nan)[dates].reshape(int(dates.sum()), layer[0].size)
            some = np.isfinite(inside).any(1)
            means = np.full(len(inside), np.nan)
            means[some] = np.nanmean(inside[some], 1)
            lines[place] = (colour, days, means)
        yield title, unit, lines


def places(dataset, example, side: int) -> dict:
    """{name: (colour, mask (side, side))}: large parcels of different classes, or classes, or the whole tile.

    Labels are taken at the centres of the pixels of a grid of side x side, which may be finer or coarser than they are.
    """
    whole = {"whole tile": ((0.2, 0.2, 0.2), np.ones((side, side), bool))}
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
            found[f"{dataset.classes[label]} (parcel {number})"] = (colours[label], mask)
    if not found:
        kinds, counts = np.unique(labels[labelled], return_counts=True)
        found = {dataset.classes[k]: (colours[k], labels == k) for k in kinds[np.argsort(-counts, kind="stable")]}
    return dict(list(found.items())[:PLACES]) or whole
