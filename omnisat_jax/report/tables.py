"""Results as a terminal table and as results.md; every number stands beside its protocol."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from omnisat_jax.report import escaping

COLUMNS = {
    "segment": (("miou", "mIoU"), ("oa", "OA")),
    "classify": (("f1_macro", "macro F1"), ("f1_weighted", "weighted F1"), ("map", "mAP")),
}


def protocol_lines(results) -> list[str]:
    """What the numbers are, in a few sentences."""
    p = results["protocol"]
    metric = (
        f"mIoU and OA in %, classes 0..{len(p['classes']) - 1}, void ignored; a class found in neither labels nor predictions is left out"
        if results["task"] == "segment"
        else "F1 and mAP in %, over the classes that occur"
    )
    trained = f"Seed: {p['seed']}. Checkpoint: step {p['checkpoint']}. Pre-training: {p['pretrain_steps']} steps."
    if p["probe"] != "none":
        dense = "; one class a patch" if results["task"] == "segment" else ""
        weights = f"pre-trained for {p['pretrain_steps']} steps" if p["pretrain_steps"] else "random"
        trained = f"Seed: {p['seed']}. Frozen tokens ({weights}), {p['probe']} probe fitted with all modalities{dense}."
    dates = ", ".join(f"{name} {count}" for name, count in p["dates"].items())
    scores = results["subsets"][0]["scores"]
    if "f1_every_label" in scores:
        metric += f"; every label given to every tile: macro F1 {scores['f1_every_label']:.1f}, mAP {scores['map_every_label']:.1f}"
    lines = [
        f"Dataset: {p['dataset']}{' - SIMULATED, not comparable with published numbers' if p['simulated'] else ''}.",
        f"Protocol: {p['protocol']}, fold {p['fold']}; train {' '.join(p['train'])} ({p['train_tiles']} tiles), "
        f"validation {' '.join(p['validation']) or 'none (last checkpoint)'}, test {' '.join(p['test'])} ({p['test_tiles']} tiles).",
        f"Metric: {metric}.",
        trained,
    ]
    if p["pretrain_from"]:
        lines.append(f"Pre-trained by the run in {p['pretrain_from']}.")
    if p["label_share"] < 1:
        lines.append(f"Labels: {100 * p['label_share']:g} % of the training tiles.")
    if p["missing_modalities"]:
        lines.append(f"Configured, but not in the data: {', '.join(p['missing_modalities'])}.")
    if dates:
        lines.append(f"Longest series scored (evenly spaced dates beyond): {dates}.")
    if p.get("min_pixels"):
        lines.append(f"Only classes with at least {p['min_pixels']} labelled pixels enter mIoU.")
    if p["unscored"]:
        lines.append(f"Predicted, but not in the mean: {', '.join(p['unscored'])}.")
    if p["broken"]["tiles"]:
        lines.append(f"Tiles with broken files: {p['broken']['tiles']} (data.on_bad={p['broken']['on_bad']}).")
    if p["void_test_parcels"]:
        lines.append("Training pixels of parcels that test tiles contain are void.")
    return lines


def rows(results):
    """(name, cells) of each subset, and of the same with random weights where a probe has them as its floor."""
    columns = COLUMNS[results["task"]]
    for kind, start in (("subsets", ""), ("floor", "random weights: ")):
        for entry in results.get(kind, []):
            yield start + "+".join(entry["modalities"]), [f"{entry['scores'][key]:.1f}" for key, _ in columns]


def show(console: Console, results) -> None:
    """The scores of every subset on the terminal, and under them what they are."""
    table = Table(title=Text(f"{results['name']}: test scores by modalities"), title_justify="left")
    table.add_column("modalities")
    for _, title in COLUMNS[results["task"]]:
        table.add_column(title, justify="right")
    for name, cells in rows(results):
        table.add_row(Text(name), *cells)
    console.print(table)
    for line in protocol_lines(results):
        console.print(line, markup=False, emoji=False, highlight=False)


def markdown(results) -> str:
    """results.md: protocol, scores of every subset, per-class scores with all modalities."""
    titles = [title for _, title in COLUMNS[results["task"]]]
    escape = escaping.markdown
    lines = [f"# {escape(results['name'])}", "", *(f"- {escape(line)}" for line in protocol_lines(results)), ""]
    lines += ["| modalities | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    lines += [f"| {escape(name)} | " + " | ".join(cells) + " |" for name, cells in rows(results)]
    key = "iou" if results["task"] == "segment" else "f1"
    first = results["subsets"][0]
    each = first["scores"][key]
    lines += [
        "",
        f"Per class, {escape('+'.join(first['modalities']))}:",
        "",
        f"| class | {'IoU' if key == 'iou' else 'F1'} |",
        "|---|---:|",
    ]
    lines += [f"| {escape(name)} | {'absent' if value is None else f'{value:.1f}'} |" for name, value in each.items()]
    return "\n".join(lines) + "\n"
