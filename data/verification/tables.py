"""Tables of the contents of a dataset, for a terminal of 100 columns: parts and classes, ranges and units, calendars."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.verification.findings import one_line
from data.verification.units import DECIBELS, DEGREES, EIGHT_BIT, HEIGHT, format_value

FEW = 5  # parts, up to which each has its own column
MONTHS = "JFMAMJJASOND"


def print_contents(console: Console, title: str, contents: dict[str, Any]) -> None:
    """Prints the tables of `Contents.to_json`."""
    console.print(Text(one_line(title)), style="bold", soft_wrap=True)
    for table in (_parts(contents), _classes(contents), _numbers(contents), _calendars(contents)):
        if table is not None and table.rows:
            console.print(table)
            console.print()
    for text in (*_lacking(contents), *_parcels(contents), *_gaps(contents)):
        console.print(Text(one_line(text)), soft_wrap=not console.is_terminal)


def _table(*headings: str) -> Table:
    """A table with these headings; columns whose heading begins with "<" are left-aligned."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold cyan")
    for heading in headings:
        table.add_column(
            Text(one_line(heading.removeprefix("<"))), justify="left" if heading.startswith("<") else "right", overflow="fold"
        )
    return table


def _row(table, *cells):
    table.add_row(*(Text(one_line(cell)) for cell in cells))


def _parts(contents):
    names = list(contents["modalities"])
    if contents["counted"] == "tiles":
        table = _table("<part", "tiles", "without a label")
    else:
        table = _table("<part", "tiles", "without a label", "labeled pixels", "void")
    for part, entry in contents["parts"].items():
        row = [part, f"{entry['tiles']:,}", f"{entry['without_label']:,}"]
        if contents["counted"] == "pixels":
            labelled = sum(entry["classes"].values())
            row += [f"{labelled:,}", format_share(entry["void"] / max(1, labelled + entry["void"]))]
        _row(table, *row)
    return table if names else None


def _classes(contents):
    parts = contents["parts"]
    classes = list(next(iter(parts.values()))["classes"]) if parts else []
    counts = {name: [entry["classes"][name] for entry in parts.values()] for name in classes}
    total = sum(map(sum, counts.values()))
    unit = contents["counted"]
    middle = parts if len(parts) <= FEW else ("fewest in a part", "most in a part", "parts without")
    table = _table(f"<{unit} of class", *middle, "all", *(["share"] if unit == "pixels" else []))
    for name, found in counts.items():
        if any(found):
            middle = found if len(parts) <= FEW else (min(found), max(found), sum(not n for n in found))
            whole = [format_share(sum(found) / total)] if unit == "pixels" else []
            _row(table, name, *(f"{n:,}" if n else "-" for n in middle), f"{sum(found):,}", *whole)
    return table


def _numbers(contents):
    table = _table("<modality", "tiles", "<band", "min", "1 %", "median", "99 %", "max", "unknown", "<looks like")
    for name, modality in contents["modalities"].items():
        if not any("min" in entry for entry in modality["bands"].values()):
            _row(table, name, f"{modality['tiles']:,}", "all", *"-----", "100 %" if modality["tiles"] else "-", "nothing known")
            continue
        for index, (band, entry) in enumerate(modality["bands"].items()):
            first = [name, f"{modality['tiles']:,}"] if not index else ["", ""]
            numbers = [_number(entry.get(key), entry["looks_like"]) for key in ("min", "p1", "median", "p99", "max")]
            unknown = "-" if entry["unknown"] is None else format_share(entry["unknown"])
            _row(table, *first, band, *numbers, unknown, _meaning(entry))
    return table


def _meaning(entry):
    quantity, unit = entry["quantity"], entry["looks_like"]
    if "min" not in entry:
        return "nothing known"
    if unit == DEGREES or not quantity:
        return unit
    if unit == EIGHT_BIT:
        return "height, 8 bit" if quantity == HEIGHT else unit
    words = {"?": "in no usual unit", DECIBELS: "in dB"}.get(unit, unit)
    return f"{quantity} {words}".strip()


def _number(value, unit):
    if value is None:
        return "-"
    return f"{value:.1f}" if unit == DECIBELS else f"{value:.2f}" if unit == DEGREES else format_value(value)


def _calendars(contents):
    table = _table("<dates per tile", "<year", "tiles", *MONTHS)
    for name, modality in contents["modalities"].items():
        calendar = modality["calendar"]
        if not calendar:
            continue
        low, middle, high = calendar["dates_per_tile"]
        heading = f"{name}: {low}" + (f" to {high}, median {middle:g}" if low < high else "")
        for year, tiles in calendar["tiles_per_year"].items():
            months = (calendar["dates_per_month"].get(f"{int(year):04d}-{month:02d}", 0) for month in range(1, 13))
            _row(table, heading, year, f"{tiles:,}", *("." if not n else "<1" if n < 0.95 else f"{n:.0f}" for n in months))
            heading = ""
    return table


def _lacking(contents) -> Iterator[str]:
    counts = {part: entry["classes"] for part, entry in contents["parts"].items()}
    held = {name for classes in counts.values() for name, count in classes.items() if count}
    nowhere = [name for name in next(iter(counts.values()), ()) if name not in held]
    if nowhere and held:
        yield f"no part has {'; '.join(nowhere)}"
    for part, classes in counts.items():
        lacking = [name for name, count in classes.items() if not count and name in held]
        if lacking:
            yield f"part {part} lacks {'; '.join(lacking)} (others have it)"


def _parcels(contents) -> Iterator[str]:
    number, shared = contents["parcels"]["number"], contents["parcels"]["in_several_parts"]
    if number:
        yield (
            f"parcels: {number:,}, of which {shared:,} lie in several parts (data.void_test_parcels)"
            if shared
            else f"parcels: {number:,}, each in one part"
        )


def _gaps(contents) -> Iterator[str]:
    for name, modality in contents["modalities"].items():
        if calendar := modality["calendar"]:
            gap = calendar["widest_gap"]
            yield (
                f"{name}: {calendar['first']} to {calendar['last']}; the widest gap of a tile is {gap['median_of_tiles']:g} days (median), at most "
                f"{gap['days']} days ({gap['from']} to {gap['to']}, tile {gap['tile']})"
            )


def format_share(number: float) -> str:
    """A share in per cent; only exactly 0 and 1 are shown as 0 % and 100 %."""
    if number in (0, 1):
        return f"{100 * number:.0f} %"
    return "<0.01 %" if number < 1e-4 else ">99.99 %" if number > 0.9999 else f"{100 * number:.2f} %"
