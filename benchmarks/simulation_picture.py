"""Draws measured tiles above simulated ones, all in true color with one stretch from 0 to 0.3 reflectance.

    python -m benchmarks.simulation_picture --measured=DIR --simulated=DIR --credit=TEXT --out=FILE [--columns=4]

Both are raw folders in PASTIS layout. Tiles are those with the clearest date until 10 October; finer simulated pixels are averaged to the size
of the measured ones, which PASTIS-R at 40 m needs.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from data.reading.datasets import open_dataset
from data.reading.raw import RawDataset
from data.verification.calendars import date_of
from omnisat_jax.cli.arguments import Parser, words
from omnisat_jax.cli.command import run_command
from omnisat_jax.dates import day_zero
from omnisat_jax.errors import UserError
from omnisat_jax.missing import measured
from omnisat_jax.report.pictures import true_colour

BRIGHTEST = 0.3  # reflectance that is shown as white
AUTUMN = 40  # days from 1 September


def clearest(dataset: RawDataset, count: int) -> list[tuple[str, np.ndarray]]:
    """The tiles with the clearest frames of autumn: (title, (H, W, 3) reflectance)."""
    colours = true_colour(dataset.modalities["s2"].bands)
    found = []
    for tile in dataset.tiles:
        entry = dataset.readers["s2"](tile)
        early = np.flatnonzero(entry["valid"] & (entry["dates"] - day_zero("season", [entry["dates"]]) < AUTUMN))
        for date in early:
            frame = entry["values"][date]
            if measured(frame).all():
                brightness = float(np.percentile(frame[..., 0], 98))
                found.append((brightness, tile, f"{tile}, {date_of(entry['dates'][date])}", frame[..., colours] / 10_000))
    if len({tile for _, tile, *_ in found}) < count:
        raise UserError(f"--columns: expected at most the number of tiles of {dataset.root} with a date from 1 September to 10 October, found {count}")
    chosen = {}
    for _, tile, title, image in sorted(found, key=lambda entry: entry[:2]):
        chosen.setdefault(tile, (title, image))
    return list(chosen.values())[:count]


def coarsen(image: np.ndarray, side: int) -> np.ndarray:
    """Means over blocks, so that an image (H, W, C) has `side` pixels per side, if it has a multiple of them."""
    factor = image.shape[0] // side
    return image.reshape(side, factor, side, factor, -1).mean((1, 3)) if image.shape[0] == factor * side else image


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture."""
    parser = Parser(prog="python -m benchmarks.simulation_picture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", required=True, type=pathlib.Path)
    parser.add_argument("--simulated", required=True, type=pathlib.Path)
    parser.add_argument("--credit", required=True, type=words, help="source and license of the measured tiles")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--columns", type=int, default=4)
    options = parser.parse_args(arguments)
    rows = {kind: open_dataset("pastis", getattr(options, kind)) for kind in ("measured", "simulated")}
    if not rows["simulated"].simulated or rows["measured"].simulated:
        raise UserError("--measured, --simulated: expected a measured and a simulated folder, found others")
    side = rows["measured"].modalities["s2"].shape[0]
    figure, axes = plt.subplots(2, options.columns, figsize=(2.6 * options.columns, 5.9), squeeze=False, layout="constrained")
    for row, (kind, dataset) in zip(axes, rows.items()):
        for place, (title, image) in zip(row, clearest(dataset, options.columns)):
            place.imshow(np.clip(coarsen(image, side) / BRIGHTEST, 0, 1), interpolation="nearest")
            place.set_title(f"{kind}: {title}", fontsize=8)
            place.set_xticks([])
            place.set_yticks([])
    figure.supxlabel(f"Sentinel-2 red, green, blue, 0 to {BRIGHTEST} reflectance. Measured: {options.credit}", fontsize=8)
    figure.savefig(options.out, dpi=110)
    plt.close(figure)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
