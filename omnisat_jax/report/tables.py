"""Results as a terminal table and as results.md; every number stands beside its protocol."""

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from omnisat_jax.report import escaping

NONE = "-"  # in place of a score that no tile gives
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
    trained = f"Seed: {p['seed']}. Checkpoint: {_checkpoint(p)}. Pre-training: {p['pretrain_steps']} steps."
    if p["probe"] != "none":
        dense = "; one class a patch" if results["task"] == "segment" else ""
        weights = f"pre-trained for {p['pretrain_steps']} steps" if p["pretrain_steps"] else "random"
        trained = f"Seed: {p['seed']}. Frozen tokens ({weights}), {p['probe']} probe fitted with all modalities{dense}."
    dates = ", ".join(f"{name} {count}" for name, count in p["dates"].items())
    scores = results["subsets"][0]["scores"]
    if "f1_every_label" in scores:
        every = f"macro F1 {shown(scores['f1_every_label'])}, mAP {shown(scores['map_every_label'])}"
        metric += f"; every label given to every tile: {every}"
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
    if any(_counted(entry) not in (str(p["test_tiles"]), NONE) for entry in results["subsets"]):
        lines.append("A subset is scored over the test tiles that hold at least one of its modalities; from the others nothing could be predicted.")
    if p["void_test_parcels"]:
        lines.append("Training pixels of parcels that test tiles contain are void.")
    return lines


def _checkpoint(p):
    """Which one was scored; results of earlier versions do not say why that one."""
    kind = p.get("checkpoint_is")
    return f"step {p['checkpoint']}{f' ({kind})' if kind else ''}"


def shown(score) -> str:
    """A score with one decimal, or that there is none."""
    return NONE if score is None or math.isnan(score) else f"{score:.1f}"


def _counted(entry):
    """Of how many tiles a score is, and how many of them hold every modality of the subset if not all do."""
    tiles, whole = entry.get("tiles"), entry.get("tiles_with_all")
    if tiles is None:
        return NONE
    return str(tiles) if tiles == whole else f"{tiles} ({whole} with all)"


def rows(results, columns=None):
    """(name, cells) of each subset, and of the same with random weights where a probe has them as its floor; the last cell counts tiles."""
    columns = columns or COLUMNS[results["task"]]
    for kind, start in (("subsets", ""), ("floor", "random weights: ")):
        for entry in results.get(kind, []):
            scores = [shown(entry["scores"].get(key)) for key, _ in columns]
            yield start + "+".join(entry["modalities"]), [*scores, _counted(entry)]


def show(console: Console, results) -> None:
    """The scores of every subset on the terminal, and under them what they are."""
    table = Table(title=Text(f"{results['name']}: test scores by modalities"), title_justify="left")
    table.add_column("modalities")
    for _, title in (*COLUMNS[results["task"]], ("tiles", "tiles")):
        table.add_column(title, justify="right")
    for name, cells in rows(results):
        table.add_row(Text(name), *cells)
    console.print(table)
    for line in protocol_lines(results):
        console.print(line, markup=False, emoji=False, highlight=False)


def markdown(results) -> str:
    """results.md: protocol, scores of every subset, per-class scores with all modalities."""
    titles = [*(title for _, title in COLUMNS[results["task"]]), "tiles"]
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
