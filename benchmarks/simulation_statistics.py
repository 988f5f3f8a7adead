"""What the images and parcels of a dataset in PASTIS layout look like, beside the targets of the simulation.

    python -m benchmarks.simulation_statistics --simulated=DIR [--measured=DIR] [--json=FILE]

A folder is a raw one or prepared records. It prints a table in Markdown: quantity, target, source of the target, simulated, measured. Season
months are 30 days from the 1 September on or before the first date, so "August" is days 330 to 359. Values of a crop are means over its
parcels of at least MIN_PIXELS labeled pixels; NDVI on dates when at most a tenth of the parcel is cloudy. A pixel is cloudy
if its blue reflectance is more than CLOUDY above its median over the dates: on the Flemish tiles this gives the shares of the
scene classification of Level-2A, 0.30 of the dates and 0.17 of the pixels. Means of radar over pixels are means of dB; those over a parcel are the dB of
mean power.
"""

import argparse
import collections
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data.pastis.reader import CLASSES
from data.reading.datasets import open_dataset
from data.simulation.targets import STATISTICS, Target
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.dates import day_zero
from omnisat_jax.errors import UserError
from omnisat_jax.missing import measured
from omnisat_jax.records.description import DESCRIPTION
from omnisat_jax.records.reader import Records

MIN_PIXELS = 15
CLEAR = 0.9  # share of a parcel that must be clear
CLOUDY, CLOUDY_SHARE = 0.05, 0.05
BLUE, RED, INFRARED = 0, 2, 6
MONTH = 30
WINTER, AUGUST, AUTUMN = (3, 4, 5), (11,), (0, 1)
HECTARE = 100  # pixels of 10 m

Parcels = dict[int, list]  # month -> values of the parcels of a crop


def examples(folder: pathlib.Path) -> Iterator[Mapping[str, Any]]:
    """The tiles of a raw folder in PASTIS layout, or of prepared records.

    Raises:
      UserError, DataError: neither of them.
    """
    if (folder / DESCRIPTION).is_file():
        records = Records(folder)
        source = records.source(records.parts)
        yield from (source[index] for index in range(len(source)))
        return
    dataset = open_dataset("pastis", folder)
    yield from (dataset.read(tile) for tile in dataset.tiles)


def statistics(tiles: Iterator[Mapping[str, Any]]) -> dict[str, float]:
    """Quantities by name: those of `targets.STATISTICS` that the tiles allow, and the number of parcels of each crop.

    Args:
      tiles: with "s2" and "s1a", labels and parcel numbers, see `examples`.
    """
    ndvi, radar = (collections.defaultdict(lambda: collections.defaultdict(list)) for _ in range(2))
    clouds, backscatter, sizes = [], [], collections.Counter()
    for tile in tiles:
        labels, parcels = np.asarray(tile["labels"]), np.asarray(tile["parcels"])
        zero = day_zero("season", [tile[name]["dates"] for name in ("s2", "s1a") if len(tile[name]["dates"])])
        numbers, counts = np.unique(parcels[parcels > 0], return_counts=True)
        sizes.update(dict(zip(numbers.tolist(), counts.tolist())))
        series = {name: np.asarray(tile[name]["values"][:], np.float32) for name in ("s2", "s1a")}
        month = {name: (np.asarray(tile[name]["dates"]) - zero) // MONTH for name in series}
        known = measured(tile["s2"]["values"][:]).all(-1) & np.asarray(tile["s2"]["valid"])[:, None, None]
        cloudy = _cloudy(series["s2"], known)
        clouds += [float(frame[usable].mean()) for frame, usable in zip(cloudy, known) if usable.any()]
        backscatter.append(series["s1a"][..., :2].reshape(-1, 2).mean(0))
        for crop, mask in _fields(labels, parcels):
            _add_ndvi(ndvi[crop], series["s2"][:, mask], known[:, mask] & ~cloudy[:, mask], month["s2"])
            _add_radar(radar[crop], series["s1a"][:, mask], month["s1a"])
    shares = np.array(clouds)
    mean = np.mean(backscatter, 0)
    found = {
        "S2 dates more than 5 % cloudy": float((shares > CLOUDY_SHARE).mean()),
        "S2 cloudy pixels": float(shares.mean()),
        "S1A VV mean, dB": float(mean[0]),
        "S1A VH mean, dB": float(mean[1]),
        "parcel, mean visible area, ha": float(np.mean(list(sizes.values())) / HECTARE),
        "parcel, median visible area, ha": float(np.median(list(sizes.values())) / HECTARE),
    }
    return found | _of_crops(ndvi, radar)


def _cloudy(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which pixels (T,H,W) of reflectance x 10,000 (T,H,W,C) are cloudy; known (T,H,W)."""
    blue = np.where(known, values[..., BLUE], np.nan)
    return blue > np.nanmedian(blue, 0) + CLOUDY * 10_000


def _fields(labels: np.ndarray, parcels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """(crop, mask) of each parcel of enough labeled pixels, without void ones."""
    for number in np.unique(parcels[parcels > 0]):
        mask = (parcels == number) & (labels > 0) & (labels < len(CLASSES))
        if mask.sum() >= MIN_PIXELS:
            yield CLASSES[int(np.bincount(labels[mask]).argmax())], mask


def _add_ndvi(ndvi: Parcels, values: np.ndarray, clear: np.ndarray, month: np.ndarray) -> None:
    """Adds one parcel: values (T,N,C), clear (T,N), month (T,)."""
    usable = clear.mean(1) >= CLEAR
    red, infrared = values[..., RED], values[..., INFRARED]
    index = ((infrared - red) / np.maximum(infrared + red, 1)).mean(1)
    for m in np.unique(month[usable]):
        ndvi[int(m)].append(index[usable & (month == m)].mean())


def _add_radar(radar: Parcels, values: np.ndarray, month: np.ndarray) -> None:
    """Adds one parcel: values (T,N,C) in dB, month (T,)."""
    decibels = 10 * np.log10((10 ** (values[..., :2] / 10)).mean(1))
    for m in np.unique(month):
        radar[int(m)].append(decibels[month == m].mean(0))


def _of_crops(ndvi: Mapping[str, Parcels], radar: Mapping[str, Parcels]) -> dict[str, float]:
    """The quantities of single crops, NaN where the tiles lack them."""

    def mean(crop: str, months: Sequence[int]) -> float:
        values = [np.mean(ndvi[crop][m]) for m in months if ndvi[crop].get(m)]
        return float(np.mean(values)) if values else np.nan

    found: dict[str, float] = {}
    for crop in ("Soft winter wheat", "Corn", "Meadow"):
        name = crop.lower()
        monthly = [np.mean(radar[crop][m], 0) for m in sorted(radar[crop])]
        swing = np.ptp(monthly, axis=0) if len(monthly) > 10 else (np.nan, np.nan)
        found |= {f"{band} swing of {name}, dB": float(value) for band, value in zip(("VV", "VH"), swing)}
        found[f"NDVI of {name}, peak month"] = max((mean(crop, [m]) for m in range(6, 12) if ndvi[crop].get(m)), default=np.nan)
        found[f"NDVI of {name}, winter (December to February)"] = mean(crop, WINTER)
        found[f"NDVI of {name}, August"] = mean(crop, AUGUST)
    wheat = ndvi["Soft winter wheat"]
    found["NDVI of soft winter wheat, after harvest (August)"] = found.pop("NDVI of soft winter wheat, August")
    spreads = [np.std(wheat[m]) for m in AUTUMN if len(wheat.get(m, ())) > 2]
    found["NDVI spread between wheat parcels, September and October"] = float(np.mean(spreads)) if spreads else np.nan
    return found


def table(targets: Mapping[str, Target], columns: Mapping[str, Mapping[str, float]]) -> str:
    """A table in Markdown: target, its source and one column per dataset; "-" where a dataset lacks a quantity.

    Args:
      targets: quantity -> target.
      columns: title -> quantity -> value.
    """
    extra = [name for name in dict.fromkeys(n for column in columns.values() for n in column) if name not in targets]
    rows = [f"| | target | source of the target | {' | '.join(columns)} |", f"|---|---|---|{'---:|' * len(columns)}"]
    for name in [*targets, *extra]:
        target = targets.get(name)
        shown = [f"{column.get(name, np.nan):.2f}" if np.isfinite(column.get(name, np.nan)) else "-" for column in columns.values()]
        if any(text != "-" for text in shown):
            between = (f"{target.low:g} to {target.high:g}", target.source) if target else ("", "")
            rows.append(f"| {name} | {between[0]} | {between[1]} | {' | '.join(shown)} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if a target is missed."""
    parser = Parser(prog="python -m benchmarks.simulation_statistics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulated", required=True, help="folders of simulated data, raw or prepared, comma-separated")
    parser.add_argument("--measured", default="", help="folders of measured data in PASTIS layout, comma-separated")
    parser.add_argument("--json", type=pathlib.Path, help="also write all values here")
    options = parser.parse_args(arguments)
    folders = {option: [pathlib.Path(part) for part in getattr(options, option).split(",") if part] for option in ("simulated", "measured")}
    if not folders["simulated"]:
        raise UserError("--simulated: expected at least one folder, found none")
    columns = {f"{kind}: {folder.name}": statistics(examples(folder)) for kind, parts in folders.items() for folder in parts}
    print(table(STATISTICS, columns))
    if options.json:
        options.json.write_text(json.dumps(columns, indent=1))
    # The area of whole parcels is known to the simulation only.
    missed = {
        f"{title}: {name}": round(column[name], 3)
        for title, column in columns.items() if title.startswith("simulated")
        for name, target in STATISTICS.items() if name in column and not target.holds(column[name])
    }  # fmt: skip
    print("\nmissed: " + (", ".join(f"{name} {value}" for name, value in missed.items()) or "none"))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(run_command(main))
