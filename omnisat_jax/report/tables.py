"""Results as a table on the terminal and as results.md, each with the protocol of its numbers."""

import math
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from omnisat_jax.report import escaping
from omnisat_jax.report.run_files import Results
from omnisat_jax.words import number_of

NONE = "-"  # in place of a score of no tile
Columns = Sequence[tuple[str, str]]  # (key of the scores, title)
COLUMNS = {
    "segment": (("miou", "mIoU"), ("oa", "OA")),
    "classify": (("f1_macro", "macro F1"), ("f1_weighted", "weighted F1"), ("map", "mAP")),
}


def protocol_lines(results: Results) -> list[str]:
    """The protocol of the scores, in a few sentences."""
    p = results["protocol"]
    simulated = " - SIMULATED, not comparable with published numbers" if p["simulated"] else ""
    lines = [
        f"Dataset: {p['dataset']}{simulated}.",
        f"Protocol: {p['protocol']}, fold {p['fold']}; train {' '.join(p['train'])} ({number_of(p['train_tiles'], 'tile')}), "
        f"validation {' '.join(p['validation']) or 'none (last checkpoint)'}, test {' '.join(p['test'])} ({number_of(p['test_tiles'], 'tile')}).",
        f"Metric: {_metric(results)}.",
        _training(results),
    ]
    if p["pretrain_from"]:
        lines.append(f"Pre-trained by the run in {p['pretrain_from']}.")
    if p["label_share"] < 1:
        lines.append(f"Labels: {100 * p['label_share']:g} % of the training tiles.")
    if p["missing_modalities"]:
        lines.append(f"Configured, but not in the data: {', '.join(p['missing_modalities'])}.")
    if p["dates"]:
        dates = ", ".join(f"{name} {count}" for name, count in p["dates"].items())
        lines.append(f"Dates per series in evaluation, at most (longer series are sampled evenly): {dates}.")
    if p.get("min_pixels"):
        lines.append(f"Only classes with at least {p['min_pixels']} labelled pixels enter mIoU.")
    if p["unscored"]:
        lines.append(f"Predicted, but not in the mean: {', '.join(p['unscored'])}.")
    if p["broken"]["tiles"]:
        lines.append(f"Tiles with broken files: {p['broken']['tiles']} (data.on_bad={p['broken']['on_bad']}).")
    if any(_tiles(entry) not in (str(p["test_tiles"]), NONE) for entry in results["subsets"]):
        lines.append("A subset is scored over the test tiles that hold at least one of its modalities; the others give no prediction.")
    if p["void_test_parcels"]:
        lines.append("Training pixels of parcels that also appear in test tiles are void.")
    return lines


def calibration_lines(results: Results) -> list[str]:
    """What the temperature is and what it changes on the test tiles, in sentences; [] of results without one."""
    scaling = results.get("temperature_scaling")
    if not scaling:
        return []
    temperature, remark, parts = scaling["temperature"], scaling["remark"], " ".join(scaling["validation"])
    value = temperature if isinstance(temperature, str) else f"{temperature:.3f}"  # of joined folds, one for each
    lines = [f"Temperature: {value}{f', fitted to {parts} with all modalities' if parts else ''}. Scores do not depend on it."]
    lines += [f"{remark}."] if remark else []
    if scaling["predictions"]:
        error, likelihood = (
            [f"{value:{form}}" if (value := scaling[side][key]) is not None else NONE for side in ("after", "before")]
            for key, form in (("ece", ".2f"), ("nll", ".4f"))
        )
        lines.append(
            f"With the temperature, the expected calibration error on the test tiles is {error[0]} % instead of {error[1]} %, "
            f"and the negative log-likelihood {likelihood[0]} instead of {likelihood[1]}."
        )
    return lines


def _metric(results):
    """What the scores measure."""
    if results["task"] == "segment":
        last = len(results["protocol"]["classes"]) - 1
        metric = f"mIoU and OA in %, classes 0..{last}, void ignored; classes absent from both labels and predictions do not count"
    else:
        metric = "F1 and mAP in %, over the classes that occur"
    scores = results["subsets"][0]["scores"]
    if "f1_every_label" not in scores:
        return metric
    trivial = f"macro F1 {shown(scores['f1_every_label'])}, mAP {shown(scores['map_every_label'])}"
    return f"{metric}; a prediction of every label for every tile scores {trivial}"


def _training(results):
    """How the model was trained, and which checkpoint was scored."""
    p = results["protocol"]
    steps = p["pretrain_steps"]
    if p["probe"] == "none":
        return f"Seed: {p['seed']}. Checkpoint: {_checkpoint(p)}. Pre-training: {number_of(steps, 'step')}."
    weights = f"pre-trained for {number_of(steps, 'step')}" if steps else "random"
    dense = "; one class per patch" if results["task"] == "segment" else ""
    return f"Seed: {p['seed']}. Frozen tokens ({weights}), {p['probe']} probe fitted with all modalities{dense}."


def _checkpoint(p):
    """The scored checkpoint; results of earlier versions do not say whether it is the best or the last one."""
    kind = p.get("checkpoint_is")
    return f"step {p['checkpoint']}{f' ({kind})' if kind else ''}"


def shown(score: float | None) -> str:
    """A score with one decimal, "-" if there is none."""
    return NONE if score is None or math.isnan(score) else f"{score:.1f}"


def _tiles(entry):
    """The number of scored tiles, and of those that hold every modality of the subset if not all do."""
    tiles, whole = entry.get("tiles"), entry.get("tiles_with_all")
    if tiles is None:
        return NONE
    return str(tiles) if tiles == whole else f"{tiles} ({whole} with all)"


def rows(results: Results, columns: Columns | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yields (name, cells) of each subset and, of a probe, of each subset with random weights; the last cell counts tiles."""
    columns = columns or COLUMNS[results["task"]]
    for kind, start in (("subsets", ""), ("floor", "random weights: ")):
        for entry in results.get(kind, []):
            scores = [shown(entry["scores"].get(key)) for key, _ in columns]
            yield start + "+".join(entry["modalities"]), [*scores, _tiles(entry)]


def show(console: Console, results: Results) -> None:
    """Prints the scores of every subset, and their protocol below."""
    table = Table(title=Text(f"{results['name']}: test scores by modalities"), title_justify="left")
    table.add_column("modalities")
    for _, title in (*COLUMNS[results["task"]], ("tiles", "tiles")):
        table.add_column(title, justify="right")
    for name, cells in rows(results):
        table.add_row(Text(name), *cells)
    console.print(table)
    for line in [*protocol_lines(results), *calibration_lines(results)]:
        console.print(line, markup=False, emoji=False, highlight=False)


def markdown(results: Results) -> str:
    """The text of results.md: protocol, scores of every subset, and scores per class with all modalities."""
    titles = [*(title for _, title in COLUMNS[results["task"]]), "tiles"]
    escape = escaping.markdown
    lines = [f"# {escape(results['name'])}", "", *(f"- {escape(line)}" for line in protocol_lines(results)), ""]
    lines += ["| modalities | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    lines += [f"| {escape(name)} | " + " | ".join(cells) + " |" for name, cells in rows(results)]
    if calibration := calibration_lines(results):
        lines += ["", "Calibration:", "", *(f"- {escape(line)}" for line in calibration)]
    key = "iou" if results["task"] == "segment" else "f1"
    first = results["subsets"][0]
    lines += [
        "",
        f"Per class, with {escape('+'.join(first['modalities']))}:",
        "",
        f"| class | {'IoU' if key == 'iou' else 'F1'} |",
        "|---|---:|",
    ]
    lines += [f"| {escape(name)} | {'absent' if value is None else f'{value:.1f}'} |" for name, value in first["scores"][key].items()]
    return "\n".join(lines) + "\n"
