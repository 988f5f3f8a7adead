"""A tile as a specialist would look at it: python -m data.show pastis --raw DIR --tile ID [--out FILE]

True and false colour at clear dates, NDVI and backscatter of its parcels (or classes) over time, images, labels with their legend, and which
dates of which series can be used. Pixels of which nothing is known are light grey.
"""

import argparse
import io
import pathlib
import re
import sys
import warnings

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

from data.figures import curves  # noqa: E402
from data.reading.datasets import DATASETS, open_dataset  # noqa: E402
from data.reading.raw import RawDataset, known_values  # noqa: E402
from data.verification.calendars import day  # noqa: E402
from data.verification.findings import line  # noqa: E402
from omnisat_jax.cli.command import run_command  # noqa: E402
from omnisat_jax.errors import UserError  # noqa: E402
from omnisat_jax.files.atomic import write_bytes  # noqa: E402
from omnisat_jax.report.pictures import class_colours, stretch, true_colour  # noqa: E402

matplotlib.rcParams["text.parse_math"] = False  # names are shown, never interpreted
CLEAR = 4  # dates shown
GREY = 0.85  # of pixels of which nothing is known
NAMED = 30  # characters of a name in a legend
SCREEN = 110  # dots per inch


def show(dataset: RawDataset, tile: str):
    """The figure of one tile.

    Raises:
      DataError: a broken file.
      UserError: a tile that the dataset does not have, with some that it has.
    """
    tiles = [name for part in dataset.parts.values() for name in part]
    if tile not in tiles:
        raise UserError(f"--tile: expected one of the {len(tiles)} tiles ({', '.join(tiles[:5])}, ...), found {tile!r}")
    example = dataset.read(tile)
    part = next(part for part, names in dataset.parts.items() if tile in names)
    held = {name: m for name, m in dataset.modalities.items() if len(example[name]["values"])}
    pictures = [panel for name, m in held.items() for panel in _pictures(name, m, example[name])]
    lines = [panel for name, m in held.items() if m.kind == "series" for panel in curves.curves(dataset, name, m, example)]
    dense = dataset.task == "segment"
    series = [name for name, m in held.items() if m.kind == "series"]
    columns = CLEAR
    picture_rows = -(-(len(pictures) + dense) // columns)
    curve_rows = len(lines) + bool(series)
    figure = plt.figure(figsize=(3.3 * columns, 3.5 * picture_rows + 2.3 * curve_rows + 1), layout="constrained")
    heights = [1.5] * picture_rows + [1] * curve_rows
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights) if heights else None
    for index, (title, image) in enumerate(pictures):
        _image(figure.add_subplot(grid[index // columns, index % columns]), title, image)
    if dense:
        axes = figure.add_subplot(grid[len(pictures) // columns, len(pictures) % columns])
        _labels(figure, axes, dataset, example["labels"])
    time = None  # axis that all rows share
    for index, (title, unit, places) in enumerate(lines):
        axes = figure.add_subplot(grid[picture_rows + index, :], sharex=time)
        time = time or axes
        _lines(axes, title, unit, places, legend=not index)
    if series:
        _validity(figure.add_subplot(grid[-1, :], sharex=time), series, example)
    kind = "simulated" if dataset.simulated else "measured"
    titles = [f"{dataset.name} tile {tile}, {part} ({kind}){_labelled(dataset, example)}{_place(held, example)}"]
    titles += [f"{name}: {remark}" for name, remark in example.get("remarks", {}).items()]
    figure.suptitle("\n".join(map(line, titles)), wrap=True)
    return figure


def _pictures(name, modality, entry):
    """(title, (H,W,3) in [0, 1]) of one modality."""
    values = entry["values"]
    if modality.kind == "location":
        return
    colour, infrared = true_colour(modality.bands), curves.position(modality.bands, curves.INFRARED)
    if modality.kind == "image":
        if colour:
            yield f"{name}: true colour", _picture(values[0], colour)
        else:
            yield f"{name}: {modality.bands[0] if modality.bands else 'first band'}", _picture(values[0], [0])
        if infrared is not None and colour:
            yield f"{name}: near infrared, red, green", _picture(values[0], [infrared, *colour[:2]])
        return
    usable = np.flatnonzero(entry["valid"])
    if not len(usable):
        return
    if not colour:
        mean = _mean(values[usable][..., :1])
        yield f"{name}: {modality.bands[0] if modality.bands else 'first band'}, mean of {len(usable)} dates", _picture(mean, [0])
        return
    shown = _clearest(values[..., colour[2]], usable)
    for date in shown:
        yield f"{name}: {day(entry['dates'][date])}", _picture(values[date], colour)
    if infrared is not None:
        for date in shown:
            yield f"near infrared, red, green: {day(entry['dates'][date])}", _picture(values[date], [infrared, *colour[:2]])


def _mean(values):
    """(H,W,C) float32 over the known values of (T,H,W,C); NaN where there is none."""
    known = known_values(values)
    count = known.sum(0)
    total = np.where(known, values, 0).sum(0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _picture(values, bands):
    """Three or one of the bands of (H,W,C), stretched over what is known of them."""
    chosen = values[..., bands]
    known = known_values(chosen).all(-1)
    shown = np.full((*known.shape, 3), GREY)
    if known.any():
        shown[known] = stretch(chosen[known].astype(float)[:, None])[:, 0]
    return shown


def _clearest(blue, usable):
    """Of each quarter of the usable dates the one whose brightest blue pixels, blue (T,H,W), are darkest: clouds are bright."""
    known = known_values(blue)
    peak = np.array([np.percentile(blue[date][known[date]], 95) if known[date].any() else np.inf for date in range(len(blue))])
    return [quarter[peak[quarter].argmin()] for quarter in np.array_split(usable, CLEAR) if len(quarter)]


def _image(axes, title, image):
    axes.imshow(image, interpolation="nearest", vmin=0, vmax=1)
    axes.set_title(line(title), fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _short(name, longest=NAMED):
    text = line(name)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _lines(axes, title, unit, places, legend):
    for place, (colour, days, values) in places.items():
        axes.plot(days, values, "-", color="black", linewidth=2.6)  # a rim, as some class colours are pale
        axes.plot(days, values, ".-", color=colour, linewidth=1.6, label=" " + _short(place, NAMED + 16))  # a leading _ would hide it
    axes.set_title(line(title), fontsize=9, loc="left")
    axes.set_ylabel(unit, fontsize=8)
    axes.tick_params(labelsize=8)
    if legend:  # the same places in all of them
        axes.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)


def _labels(figure, axes, dataset, labels):
    colours = class_colours(len(dataset.classes), dataset.colours)
    index = np.where(labels < len(dataset.classes), labels, len(dataset.classes))
    axes.imshow(colours[index], interpolation="nearest")
    axes.set_title("labels", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    names = [*dataset.classes, "void"]
    handles = [Patch(facecolor=colours[i], edgecolor="grey", label=" " + _short(names[i])) for i in np.unique(index)]
    figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=min(6, len(handles)), frameon=False)


def _validity(axes, series, example):
    for row, name in enumerate(series):
        for valid, marker, colour in ((True, "|", "tab:blue"), (False, "x", "tab:red")):
            days = [day(n) for n in example[name]["dates"][example[name]["valid"] == valid]]
            axes.plot(days, [row] * len(days), marker, color=colour, markersize=9 if valid else 6)
    axes.set_yticks(range(len(series)), [f"{_short(name)}: {int(example[name]['valid'].sum())}" for name in series], fontsize=8)
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


def save(figure, out: pathlib.Path) -> None:
    """Writes a figure whole or not at all.

    Raises:
      UserError: a form that is not known, or a file that cannot be written.
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of a script that the font lacks: shown as boxes
        figure.savefig(content, dpi=SCREEN, format=form_of(figure, out))
    write_bytes(out, content.getvalue())


def form_of(figure, out: pathlib.Path) -> str:
    """The form that the name of a file stands for.

    Raises:
      UserError: none that is known.
    """
    known = figure.canvas.get_supported_filetypes()
    form = out.suffix.lower().removeprefix(".")
    if form not in known:
        raise UserError(f"--out: expected a name that ends in one of .{', .'.join(sorted(known))}, found {out}")
    return form


def main(arguments=None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m data.show", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--raw", required=True, type=pathlib.Path, help="the dataset's folder")
    parser.add_argument("--tile", required=True)
    parser.add_argument("--nomenclature", default="", help="which set of classes, where the dataset has several")
    parser.add_argument("--out", type=pathlib.Path, help="default <dataset>_<tile>.png")
    options = parser.parse_args(arguments)
    out = options.out or pathlib.Path(re.sub(r"[^\w.-]", "_", f"{options.dataset}_{options.tile}.png"))
    form_of(plt.figure(), out)  # before anything is read
    plt.close()
    figure = show(open_dataset(options.dataset, options.raw, options.nomenclature), options.tile)
    save(figure, out)
    plt.close(figure)
    print(f"written to {line(out)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
