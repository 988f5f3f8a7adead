"""What a run stands on, said before it starts: data, protocol, what is missing, what is left out."""

from rich.console import Console
from rich.text import Text

from omnisat_jax.input.spec import InputSpec
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import Split


def announce(console: Console, records: Records, split: Split, input_spec: InputSpec) -> None:
    """Prints it; simulated data are called so, loudly."""
    if records.info.simulated:
        console.rule(Text("SIMULATED DATA: no number of this run describes real fields", style="bold yellow"))
    console.print(f"data: {records.info.citation}", markup=False, highlight=False)
    console.print(
        f"protocol {split.protocol}: train {' '.join(split.train)} ({len(records.tiles(split.train))} tiles), "
        f"validation {' '.join(split.validation) or 'none'}, test {' '.join(split.test)} ({len(records.tiles(split.test))} tiles); "
        f"modalities {' '.join(spec.name for spec in input_spec.specs)}",
        markup=False,
        highlight=False,
    )
    if input_spec.dropped:
        console.print(f"not in the data, so left out: {', '.join(input_spec.dropped)}", style="yellow", markup=False)
    if input_spec.unused:
        console.print(f"in the data but not configured, so left out: {', '.join(input_spec.unused)}", style="yellow", markup=False)
    if records.bad:
        done = {action: sum(entry["action"] == action for entry in records.bad) for action in ("left out", "masked")}
        console.print(
            f"broken files in {len({entry['tile'] for entry in records.bad})} tiles: {done['left out']} left out, "
            f"{done['masked']} masked (data.on_bad={records.info.made_with.on_bad}). The first:",
            style="yellow",
            markup=False,
        )
        console.print(f"  {records.bad[0]['message']}", markup=False, highlight=False)
    for name, count in records.counts(records.parts).items():
        if count["absent"] or count["invalid_dates"]:
            unknown = f" ({count['wholly_unknown']} of them have a file without a known value)" if count["wholly_unknown"] else ""
            console.print(
                f"{name}: absent from {count['absent']} of {count['absent'] + count['present']} tiles{unknown}; "
                f"{count['invalid_dates']} dates without a usable pixel are masked",
                style="yellow",
                markup=False,
            )
    for use, parts in (("training", split.train), ("test", split.test)):
        counts = records.label_counts(parts)
        without = [name for name, count in zip(records.classes, counts, strict=True) if not count and name in input_spec.classes]
        if without and counts.any():
            console.print(f"without a label in the {use} parts: {', '.join(without)}", style="yellow", markup=False, highlight=False)
