"""The figure of one tile.

True and false color on clear dates, NDVI and backscatter of its parcels (or classes) over time, images, labels with their legend, and which
dates of which series are usable. Unknown pixels are light gray.
"""

import contextlib
import io
import pathlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from data.figures.curves import INFRARED, Panel, band_position, curve_panels
from data.reading.raw import Entry, RawDataset, RawModality, known_values
from data.verification.calendars import date_of
from data.verification.findings import one_line
from omnisat_jax.errors import UserError
from omnisat_jax.files.atomic import write_bytes
from omnisat_jax.report.pictures import class_colours, stretch, true_colour
from omnisat_jax.words import number_of

CLEAR = 4  # dates that are shown
GREY = 0.85  # of unknown pixels
NAMED = 30  # characters of a name in a legend
RESOLUTION = 110  # dots per inch


def draw_tile(dataset: RawDataset, tile: str) -> Figure:
    """The figure of one tile.

    Raises:
      DataError: a broken file.
      UserError: an unknown tile; names some that exist.
    """
    if tile not in dataset.tiles:
        raise UserError(f"--tile: expected one of the {number_of(len(dataset.tiles), 'tile')} ({', '.join(dataset.tiles[:5])}, ...), found {tile!r}")
    example = dataset.read(tile)
    with _literal_text():
        return _draw(dataset, tile, example)


def _literal_text() -> contextlib.AbstractContextManager[None]:
    """Names are shown, never interpreted as formulas."""
    return matplotlib.rc_context({"text.parse_math": False})


def _draw(dataset: RawDataset, tile: str, example: dict[str, Any]) -> Figure:
    part = next(part for part, names in dataset.parts.items() if tile in names)
    held = {name: m for name, m in dataset.modalities.items() if len(example[name]["values"])}
    series = [name for name, m in held.items() if m.kind == "series"]
    pictures = [picture for name, m in held.items() for picture in _pictures(name, m, example[name])]
    panels = [panel for name in series for panel in curve_panels(dataset, name, example)]
    dense = dataset.task == "segment" and example["labelled"]
    picture_rows = -(-(len(pictures) + dense) // CLEAR)
    heights = [1.5] * picture_rows + [1.0] * (len(panels) + bool(series))
    figure = Figure(figsize=(3.3 * CLEAR, 3.5 * picture_rows + 2.3 * (len(panels) + bool(series)) + 1), layout="constrained")
    if heights:
        grid = figure.add_gridspec(len(heights), CLEAR, height_ratios=heights)
        for index, (title, image) in enumerate(pictures):
            _image(figure.add_subplot(grid[index // CLEAR, index % CLEAR]), title, image)
        if dense:
            axes = figure.add_subplot(grid[len(pictures) // CLEAR, len(pictures) % CLEAR])
            _labels(figure, axes, dataset, example["labels"])
        time = None  # the axis that all rows share
        for index, panel in enumerate(panels):
            axes = figure.add_subplot(grid[picture_rows + index, :], sharex=time)
            time = time or axes
            _curves(axes, panel, legend=not index)
        if series:
            _validity(figure.add_subplot(grid[-1, :], sharex=time), series, example)
    kind = "simulated" if dataset.simulated else "measured"
    titles = [f"{dataset.name} tile {tile}, {part} ({kind}){_tile_labels(dataset, example)}{_coordinates(held, example)}"]
    titles += [f"{name}: {remark}" for name, remark in example.get("remarks", {}).items()]
    figure.suptitle("\n".join(map(one_line, titles)), wrap=True)
    return figure


def save(figure: Figure, out: pathlib.Path) -> None:
    """Writes a figure, whole or not at all.

    Raises:
      UserError: an unknown format, or a file that cannot be written.
    """
    content = io.BytesIO()
    with warnings.catch_warnings(), _literal_text():
        warnings.filterwarnings("ignore", "Glyph")  # characters that the font lacks are shown as boxes
        figure.savefig(content, dpi=RESOLUTION, format=format_of(out))
    write_bytes(out, content.getvalue())


def format_of(out: pathlib.Path) -> str:
    """The image format that a file name stands for.

    Raises:
      UserError: an unknown one.
    """
    known = Figure().canvas.get_supported_filetypes()
    suffix = out.suffix.lower().removeprefix(".")
    if suffix not in known:
        raise UserError(f"--out: expected a name that ends in one of .{', .'.join(sorted(known))}, found {out}")
    return suffix


def _pictures(name: str, modality: RawModality, entry: Entry) -> Iterator[tuple[str, np.ndarray]]:
    """(title, (H,W,3) in [0, 1]) for each picture of a modality."""
    values = entry["values"]
    if modality.kind == "location":
        return
    colour, infrared = true_colour(modality.bands), band_position(modality.bands, INFRARED)
    first = modality.bands[0] if modality.bands else "first band"
    if modality.kind == "image":
        if colour is None:
            yield f"{name}: {first}", picture(values[0], [0])
            return
        yield f"{name}: true color", picture(values[0], colour)
        if infrared is not None:
            yield f"{name}: near infrared, red, green", picture(values[0], [infrared, *colour[:2]])
        return
    usable = np.flatnonzero(entry["valid"])
    if not len(usable):
        return
    if colour is None:
        mean = _mean(values[usable][..., :1])
        yield f"{name}: {first}, mean of {number_of(len(usable), 'date')}", picture(mean, [0])
        return
    shown = _clearest(values[..., colour[2]], usable)
    for date in shown:
        yield f"{name}: {date_of(entry['dates'][date])}", picture(values[date], colour)
    if infrared is not None:
        for date in shown:
            yield f"near infrared, red, green: {date_of(entry['dates'][date])}", picture(values[date], [infrared, *colour[:2]])


def _mean(values):
    """(H,W,C) float32 mean over the known values of (T,H,W,C); NaN where there is none."""
    known = known_values(values)
    count = known.sum(0)
    total = np.where(known, values, 0).sum(0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def picture(values: np.ndarray, bands: Sequence[int]) -> np.ndarray:
    """(H,W,3) in [0, 1] of three bands, or one, of values (H,W,C), stretched over the known values; Gray where unknown."""
    chosen = values[..., list(bands)]
    known = known_values(chosen).all(-1)
    shown = np.full((*known.shape, 3), GREY)
    if known.any():
        shown[known] = stretch(chosen[known].astype(float)[:, None])[:, 0]
    return shown


def _clearest(blue, usable):
    """For each quarter of the usable dates, the one whose brightest blue pixels, blue (T,H,W), are darkest: clouds are bright."""
    known = known_values(blue)
    peak = np.array([np.percentile(blue[date][known[date]], 95) if known[date].any() else np.inf for date in range(len(blue))])
    return [quarter[peak[quarter].argmin()] for quarter in np.array_split(usable, CLEAR) if len(quarter)]


def _image(axes: Axes, title: str, image: np.ndarray) -> None:
    axes.imshow(image, interpolation="nearest", vmin=0, vmax=1)
    axes.set_title(one_line(title), fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _short(name: str, longest: int = NAMED) -> str:
    text = one_line(name)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _curves(axes: Axes, panel: Panel, legend: bool) -> None:
    dates = np.array(panel.dates, "datetime64[D]")
    for name, (colour, values) in panel.curves.items():
        axes.plot(dates, values, "-", color="black", linewidth=2.6)  # an outline, as some class colors are pale
        # A label that starts with "_" would be hidden.
        axes.plot(dates, values, ".-", color=colour, linewidth=1.6, label=" " + _short(name, NAMED + 16))
    axes.set_title(one_line(panel.title), fontsize=9, loc="left")
    axes.set_ylabel(panel.unit, fontsize=8)
    axes.tick_params(labelsize=8)
    if legend:  # all panels show the same regions
        axes.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)


def _labels(figure: Figure, axes: Axes, dataset: RawDataset, labels: np.ndarray) -> None:
    colours = class_colours(len(dataset.classes), dataset.colours)
    index = np.where(labels < len(dataset.classes), labels, len(dataset.classes))
    axes.imshow(colours[index], interpolation="nearest")
    axes.set_title("labels", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    names = [*dataset.classes, "void"]
    handles = [Patch(facecolor=tuple(colours[i]), edgecolor="grey", label=" " + _short(names[i])) for i in np.unique(index)]
    figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=min(6, len(handles)), frameon=False)


def _validity(axes: Axes, series: Sequence[str], example: dict[str, Any]) -> None:
    for row, name in enumerate(series):
        for valid, marker, colour in ((True, "|", "tab:blue"), (False, "x", "tab:red")):
            days = np.array([date_of(n) for n in example[name]["dates"][example[name]["valid"] == valid]], "datetime64[D]")
            axes.plot(days, [row] * len(days), marker, color=colour, markersize=9 if valid else 6)
    axes.set_yticks(range(len(series)), [f"{_short(name)}: {int(example[name]['valid'].sum())}" for name in series], fontsize=8)
    axes.set_ylim(-0.6, len(series) - 0.4)
    axes.tick_params(labelsize=8)
    axes.set_title("dates: | usable, x without a usable pixel", fontsize=9, loc="left")


def _tile_labels(dataset, example):
    if not example["labelled"]:
        return ", without labels"
    if dataset.task == "segment":
        return ""
    return ": " + (", ".join(name for name, value in zip(dataset.classes, example["labels"]) if value) or "no label")


def _coordinates(held, example):
    if "location" not in held:
        return ""
    longitude, latitude = example["location"]["values"][0]
    return f", {abs(latitude):.4f}° {'N' if latitude >= 0 else 'S'}, {abs(longitude):.4f}° {'E' if longitude >= 0 else 'W'}"
