"""Shows what a run is based on before it starts: data, protocol, and what is missing or left out."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from omnisat_jax.input.spec import InputSpec
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import Split
from omnisat_jax.words import number_of

ACTIONS = ("left out", "masked")  # what is done to tiles with broken files


def announce(console: Console, records: Records, split: Split, input_spec: InputSpec, *, clear: bool) -> None:
    """Prints data, protocol and modalities of a run, with a clear warning if the data are simulated.

    Args:
      console: where to.
      records: the data.
      split: their parts.
      input_spec: what the model reads of them.
      clear: whether statistics leave cloudy dates out, see `Records.statistics`.
    """
    if records.info.simulated:
        console.rule(Text("SIMULATED DATA: no score of this run describes real fields", style="bold yellow"))
    console.print(f"data: {records.info.citation}", markup=False, highlight=False)
    console.print(
        f"protocol {split.protocol}: train {' '.join(split.train)} ({_tiles(records, split.train)}), "
        f"validation {' '.join(split.validation) or 'none'}, test {' '.join(split.test) or 'none'} ({_tiles(records, split.test)}); "
        f"modalities {' '.join(spec.name for spec in input_spec.specs)}",
        markup=False,
        highlight=False,
    )
    _announce_unlabelled(console, records, split)
    if input_spec.dropped:
        console.print(f"configured, but not in the data: {', '.join(input_spec.dropped)}", style="yellow", markup=False)
    if input_spec.unused:
        console.print(f"in the data, but not configured, so not used: {', '.join(input_spec.unused)}", style="yellow", markup=False)
    if records.bad:
        _announce_broken(console, records)
    for name, count in records.counts(records.parts).items():
        if count["absent"] or count["invalid_dates"]:
            unknown = f" ({count['wholly_unknown']} of them with a file without any measurement)" if count["wholly_unknown"] else ""
            console.print(
                f"{name}: absent from {count['absent']} of {number_of(count['absent'] + count['present'], 'tile')}{unknown}; "
                f"{number_of(count['invalid_dates'], 'date')} without a usable pixel masked",
                style="yellow",
                markup=False,
            )
    used = [spec.name for spec in input_spec.specs]
    for name, bands in records.constant_bands(split.train, clear=clear).items():
        if name in used:
            text = f"{name}: one value in all training tiles (standard deviation 0) of {', '.join(bands)}; what other tiles have is centered, but not scaled"
            console.print(text, style="yellow", markup=False, highlight=False)
    for use, parts in (("training", split.train), ("test", split.test)):
        counts = records.label_counts(parts)
        without = [name for name, count in zip(records.classes, counts, strict=True) if not count and name in input_spec.classes]
        if without and counts.any():
            text = f"classes without a label in the {use} parts: {', '.join(without)}"
            console.print(text, style="yellow", markup=False, highlight=False)


def announce_additional(console: Console, additional: Sequence[Records], weights: Sequence[float]) -> None:
    """Prints which further records pre-training uses, and how often.

    Args:
      console: where to.
      additional: the records.
      weights: of the main data and of each of them; () = by number of tiles.
    """
    for index, records in enumerate(additional, 1):
        share = f", {100 * weights[index] / sum(weights):.0f} % of the examples" if weights else ""
        simulated = ", simulated" if records.info.simulated else ""
        sensors = " ".join(name for name, stored in records.modalities.items() if stored.kind != "location")
        console.print(
            f"pre-training also on {_tiles(records, records.parts)} of {records.root} ({sensors}{simulated}){share}: {records.info.citation}",
            markup=False,
            highlight=False,
        )


def _tiles(records, parts):
    return number_of(len(records.tiles(parts)), "tile")


def _announce_unlabelled(console, records, split):
    """How many tiles of each use have labels, if some have none."""
    uses = (("training", split.train), ("validation", split.validation), ("test", split.test))
    counts = {use: (len(records.labelled_tiles(parts)), len(records.tiles(parts))) for use, parts in uses if parts}
    if any(labelled < every for labelled, every in counts.values()):
        text = ", ".join(f"{labelled} of {number_of(every, f'{use} tile')}" for use, (labelled, every) in counts.items())
        console.print(f"with labels: {text}; those without serve pre-training if they are training tiles, and nothing else", style="yellow", markup=False)


def _announce_broken(console, records):
    done = {action: sum(entry["action"] == action for entry in records.bad) for action in ACTIONS}
    counts = ", ".join(f"{count} {action}" for action, count in done.items())
    tiles = number_of(len({entry["tile"] for entry in records.bad}), "tile")
    console.print(
        f"broken files in {tiles}: {counts} "
        f"(data.on_bad={records.info.made_with.on_bad}). The first:",
        style="yellow",
        markup=False,
    )
    console.print(f"  {records.bad[0]['message']}", markup=False, highlight=False)
