"""A tile as a specialist would look at it: python -m data.show pastis --raw DIR --tile ID [--out FILE]

True and false colour at clear dates, NDVI and backscatter of its parcels (or classes) over time, images, labels with their legend, and which
dates of which series can be used.
"""

import argparse
import datetime
import pathlib
import sys

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

from data.datasets import DATASETS, open_dataset  # noqa: E402
from data.raw import NO_DATA_INT16, DataError, RawDataset  # noqa: E402
from data.summary import clear_dates  # noqa: E402
from omnisat_jax.errors import UserError
from omnisat_jax.report.pictures import class_colours, stretch, true_colour  # noqa: E402

EPOCH = datetime.date(1970, 1, 1)
CLEAR = 4  # dates shown
PLACES = 6  # parcels or classes whose curves are drawn
INFRARED = ("NIR", "B08")
RED = ("R", "B04")


def show(dataset: RawDataset, tile: str):
    """The figure of one tile.

    Raises:
      DataError: a broken file.
      UserError: a tile that the dataset does not have; names some that it has.
    """
    tiles = [name for part in dataset.parts.values() for name in part]
    if tile not in tiles:
        raise UserError(f"--tile: expected one of the {len(tiles)} tiles ({', '.join(tiles[:5])}, ...), found {tile!r}")
    example = dataset.read(tile)
    part = next(part for part, names in dataset.parts.items() if tile in names)
    held = {name: m for name, m in dataset.modalities.items() if len(example[name]["values"])}
    pictures = [panel for name, m in held.items() for panel in _pictures(name, m, example[name])]
    curves = [panel for name, m in held.items() if m.kind == "series" for panel in _curves(dataset, name, m, example)]
    dense = dataset.task == "segment"
    series = [name for name, m in held.items() if m.kind == "series"]
    columns = CLEAR
    picture_rows = -(-(len(pictures) + dense) // columns)
    curve_rows = len(curves) + bool(series)
    figure = plt.figure(figsize=(3.3 * columns, 3.5 * picture_rows + 2.3 * curve_rows + 1), layout="constrained")
    grid = figure.add_gridspec(picture_rows + curve_rows, columns, height_ratios=[1.5] * picture_rows + [1] * curve_rows)
    for index, (title, image) in enumerate(pictures):
        axes = figure.add_subplot(grid[index // columns, index % columns])
        _image(axes, title, image)
    if dense:
        axes = figure.add_subplot(grid[len(pictures) // columns, len(pictures) % columns])
        _labels(figure, axes, dataset, example["labels"])
    for index, (title, unit, lines) in enumerate(curves):
        axes = figure.add_subplot(grid[picture_rows + index, :])
        _lines(axes, title, unit, lines)
        if not index:  # the same places in all of them
            axes.legend(fontsize=7, loc="best", ncols=3, framealpha=0.7)
    if series:
        _validity(figure.add_subplot(grid[-1, :]), series, example)
    kind = "simulated" if dataset.simulated else "measured"
    figure.suptitle(f"{dataset.name} tile {tile}, {part} ({kind}){_labelled(dataset, example)}{_place(held, example)}")
    return figure


def _day(number):
    return EPOCH + datetime.timedelta(int(number))


def _known(values):
    return values != NO_DATA_INT16 if values.dtype == np.int16 else np.isfinite(values)


def _position(bands, names):
    return next((bands.index(name) for name in names if name in bands), None)


def _pictures(name, modality, entry):
    """(title, (H,W,3)) of one modality."""
    colour, infrared = true_colour(modality.bands), _position(modality.bands, INFRARED)
    values = entry["values"]
    if modality.kind == "image":
        if colour:
            yield f"{name}: true colour", values[0][..., colour]
        if infrared is not None and colour:
            yield f"{name}: near infrared, red, green", values[0][..., [infrared, *colour[:2]]]
        return
    if modality.kind != "series" or not colour:
        return
    shown = _clearest(values[..., colour[2]], np.flatnonzero(entry["valid"]))
    frames = {_day(entry["dates"][date]): np.where(_known(values[date]), values[date], 0) for date in shown}
    for day, frame in frames.items():
        yield f"{name}: {day}", frame[..., colour]
    if infrared is not None:
        for day, frame in frames.items():
            yield f"near infrared, red, green: {day}", frame[..., [infrared, *colour[:2]]]


def _clearest(blue, usable):
    """Of each quarter of the usable dates the one whose brightest blue pixels, blue (T,H,W), are darkest: clouds are bright."""
    peak = np.percentile(blue.reshape(len(blue), -1), 95, axis=1)
    return [quarter[peak[quarter].argmin()] for quarter in np.array_split(usable, CLEAR) if len(quarter)]


def _image(axes, title, image):
    axes.imshow(stretch(image.astype(float)), interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _regions(dataset, example, side):
    """{name: (colour, mask (side, side))}: large parcels of different classes, or classes, or the whole tile."""
    whole = {"whole tile": ((0.2, 0.2, 0.2), np.ones((side, side), bool))}
    if dataset.task != "segment":
        return whole
    step = dataset.label_side // side
    labels, parcels = (example[key][step // 2 :: step, step // 2 :: step] for key in ("labels", "parcels"))
    colours = class_colours(len(dataset.classes), dataset.colours)
    numbers, counts = np.unique(np.where(labels < len(dataset.classes), parcels, 0), return_counts=True)
    found, used = {}, set()
    for number in numbers[np.argsort(-counts)]:
        mask = parcels == number
        label = int(np.bincount(labels[mask]).argmax())
        if number and label < len(dataset.classes) and label not in used:
            used.add(label)
            found[f"{dataset.classes[label]} (parcel {number})"] = (colours[label], mask)
    if not found:
        kinds, counts = np.unique(labels[labels < len(dataset.classes)], return_counts=True)
        found = {dataset.classes[k]: (colours[k], labels == k) for k in kinds[np.argsort(-counts)]}
    return dict(list(found.items())[:PLACES]) or whole


def _curves(dataset, name, modality, example):
    """(title, unit, {place: (colour, days, values)}) of one series: NDVI, or every band of radar."""
    entry = example[name]
    values, known = entry["values"].astype(np.float32), _known(entry["values"])
    red, infrared = _position(modality.bands, RED), _position(modality.bands, INFRARED)
    if red is not None and infrared is not None:
        total = values[..., red] + values[..., infrared]
        index = (values[..., infrared] - values[..., red]) / np.where(np.abs(total) > 1, total, np.nan)
        wanted = [(f"{name}: NDVI of clear dates", "NDVI", index, known[..., red] & known[..., infrared])]
        dates = np.zeros(len(values), bool)
        usable = np.flatnonzero(entry["valid"])
        dates[usable[clear_dates(entry["values"][usable])]] = True
    else:
        wanted = [
            (f"{name}: {band}", "as stored", values[..., i], known[..., i])
            for i, band in enumerate(modality.bands)
            if band in ("VV", "VH")
        ]
        dates = entry["valid"]
    days = [_day(number) for number in entry["dates"][dates]]
    for title, unit, layer, usable in wanted:
        lines = {}
        for place, (colour, mask) in _regions(dataset, example, layer.shape[1]).items():
            inside = np.where(usable & mask, layer, np.nan)[dates].reshape(dates.sum(), -1)
            some = np.isfinite(inside).any(1)
            means = np.full(len(inside), np.nan)
            means[some] = np.nanmean(inside[some], 1)
            lines[place] = (colour, days, means)
        yield title, unit, lines


def _lines(axes, title, unit, lines):
    for place, (colour, days, values) in lines.items():
        axes.plot(days, values, "-", color="black", linewidth=2.6)  # a rim, as some class colours are pale
        axes.plot(days, values, ".-", color=colour, linewidth=1.6, label=place)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_ylabel(unit, fontsize=8)
    axes.tick_params(labelsize=8)


def _labels(figure, axes, dataset, labels):
    colours = class_colours(len(dataset.classes), dataset.colours)
    index = np.where(labels < len(dataset.classes), labels, len(dataset.classes))
    axes.imshow(colours[index], interpolation="nearest")
    axes.set_title("labels", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    names = [*dataset.classes, "void"]
    handles = [Patch(facecolor=colours[i], edgecolor="grey", label=names[i]) for i in np.unique(index)]
    figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=min(7, len(handles)), frameon=False)


def _validity(axes, series, example):
    for row, name in enumerate(series):
        for valid, marker, colour in ((True, "|", "tab:blue"), (False, "x", "tab:red")):
            days = [_day(n) for n in example[name]["dates"][example[name]["valid"] == valid]]
            axes.plot(days, [row] * len(days), marker, color=colour, markersize=9 if valid else 6)
    axes.set_yticks(range(len(series)), [f"{name}: {int(example[name]['valid'].sum())}" for name in series], fontsize=8)
    axes.set_ylim(-0.6, len(series) - 0.4)
    axes.tick_params(labelsize=8)
    axes.set_title("dates: | usable, x without a usable pixel", fontsize=9, loc="left")


def _labelled(dataset, example):
    if dataset.task == "segment":
        return ""
    return ": " + (", ".join(name for name, value in zip(dataset.classes, example["labels"]) if value) or "no label")


def _place(held, example):
    if "location" not in held:
        return ""
    longitude, latitude = example["location"]["values"][0]
    return f", {abs(latitude):.4f}° {'N' if latitude >= 0 else 'S'}, {abs(longitude):.4f}° {'E' if longitude >= 0 else 'W'}"


def main(arguments=None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m data.show", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--raw", required=True, type=pathlib.Path, help="the dataset's folder")
    parser.add_argument("--tile", required=True)
    parser.add_argument("--nomenclature", default="", help="which set of classes, where the dataset has several")
    parser.add_argument("--out", type=pathlib.Path, help="default <dataset>_<tile>.png")
    options = parser.parse_args(arguments)
    out = options.out or pathlib.Path(f"{options.dataset}_{options.tile}.png")
    try:
        figure = show(open_dataset(options.dataset, options.raw, options.nomenclature), options.tile)
        figure.savefig(out, dpi=110)
    except (DataError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
