"""Results as a table on the terminal and as results.md, each with the protocol of its numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from omnisat_jax.report import escaping
from omnisat_jax.report.run_files import Results
from omnisat_jax.words import number_of

NONE = "-"  # in place of a score of no tile
LONGEST = 30  # characters of a subset that a terminal shows before it cuts scores
Columns = Sequence[tuple[str, str]]  # (key of the scores, title)
COLUMNS = {
    "segment": (("miou", "mIoU"), ("oa", "OA")),
    "classify": (("f1_macro", "macro F1"), ("f1_weighted", "weighted F1"), ("map", "mAP")),
}
# Scores of a prediction that looks at nothing: (key, title, what it predicts).
TRIVIAL = {
    "segment": (("miou_most_frequent", "mIoU, one class everywhere"), "the most frequent class everywhere"),
    "classify": (("f1_every_label", "macro F1, every label"), "every label for every tile"),
}
# Of dense labels, where the results have them.
LEARNABLE = ("miou_learnable", "mIoU, learnable")
OF_PARCELS = "parcels."  # begins the keys of scores of parcels
PARCELS = ((f"{OF_PARCELS}oa", "parcels OA"), (f"{OF_PARCELS}f1_macro", "parcels F1"))


def released(task: str) -> dict[str, str]:
    """The scores that a model folder keeps, {key: title}: those of its task, and of a prediction that looks at nothing."""
    return dict((*COLUMNS[task], TRIVIAL[task][0]))


def columns(results: Results) -> list[tuple[str, str]]:
    """The scores that a table of results shows, as (key, title)."""
    first = results["subsets"][0]
    learnable = [LEARNABLE] if LEARNABLE[0] in first["scores"] else []
    return [*COLUMNS[results["task"]], *learnable, *(PARCELS if "parcels" in first else ())]


def score(entry: Mapping[str, Any], key: str) -> float | None:
    """A score of an entry of results.json, by its key in `columns`."""
    if key.startswith(OF_PARCELS):
        return entry["parcels"]["scores"].get(key.removeprefix(OF_PARCELS)) if "parcels" in entry else None
    return entry["scores"].get(key)


def protocol_lines(results: Results) -> list[str]:
    """The protocol of the scores, in a few sentences."""
    p = results["protocol"]
    simulated = " - SIMULATED, not comparable with published numbers" if p["simulated"] else ""
    unvalidated = "none" if p.get("method") else "none (last checkpoint)"
    lines = [
        f"Dataset: {p['dataset']}{simulated}.",
        f"Protocol: {p['protocol']}, fold {p['fold']}; train {' '.join(p['train'])} ({training_tiles(p)}), "
        f"validation {' '.join(p['validation']) or unvalidated}, test {' '.join(p['test'])} ({number_of(p['test_tiles'], 'tile')}).",
        f"Metric: {_metric(results)}.",
        _training(results),
    ]
    if p["pretrain_from"]:
        lines.append(f"Pre-trained by the run in {p['pretrain_from']}{_pretrained_on(p)}.")
    if p["label_share"] < 1:
        lines.append(f"Labels: {100 * p['label_share']:g} % of the training tiles ({training_tiles(p, share=p['label_share'])}).")
    for data in p.get("pretrain_data", ()):
        simulated = ", simulated" if data["simulated"] else ""
        lines.append(f"Pre-trained also on {number_of(data['tiles'], 'tile')} of {data['folder']} ({data['dataset']}{simulated}).")
    unlabelled = training_tiles(p, "unlabelled_train_tiles", "training tile")
    if unlabelled and p["pretrain_steps"] and not p["pretrain_from"]:
        lines.append(f"Pre-trained also on {unlabelled} without labels.")
    if p["missing_modalities"]:
        lines.append(f"Configured, but not in the data: {', '.join(p['missing_modalities'])}.")
    if p["dates"]:
        dates = ", ".join(f"{name} {count}" for name, count in p["dates"].items())
        lines.append(f"Dates per series in evaluation, at most (longer series are sampled evenly): {dates}.")
    if p.get("min_pixels"):
        lines.append(f"Only classes with at least {p['min_pixels']} labeled pixels enter mIoU.")
    lines += _learnable(results)
    if "parcels" in results["subsets"][0]:
        several = "; one that several folds test counts once per fold" if p.get("min_training") else ""
        lines.append(f"Parcels: each has the class of most of its labeled pixels, in labels and prediction, over all of its tiles{several}.")
    if p["unscored"]:
        lines.append(f"Predicted, but not in the mean: {', '.join(p['unscored'])}.")
    if p["broken"]["tiles"]:
        lines.append(f"Tiles with broken files: {p['broken']['tiles']} (data.on_bad={p['broken']['on_bad']}).")
    if any(_tiles(entry) not in (str(p["test_tiles"]), NONE) for entry in results["subsets"]):
        lines.append("A subset is scored over the test tiles that hold at least one of its modalities; the others give no prediction.")
    if p["void_test_parcels"]:
        lines.append("Training pixels of parcels that also appear in test tiles are void.")
    return lines


def training_tiles(protocol: Mapping[str, Any], key: str = "train_tiles", noun: str = "tile", *, share: float = 1.0) -> str:
    """A number of training tiles, such as "60 tiles", or "57 to 60 tiles" of joined folds that differ; "" where there are none.

    Args:
      protocol: of results.
      key: which tiles: "train_tiles", those with labels, or "unlabelled_train_tiles".
      noun: what they are called.
      share: of them, see `Records.source`.
    """
    counts = protocol.get("tiles_of_folds", {}).get(key, [protocol.get(key, 0)])
    low, high = (max(1, round(share * count)) if count else 0 for count in (min(counts), max(counts)))
    if not high:
        return ""
    return number_of(high, noun) if low == high else f"{low:,} to {number_of(high, noun)}"


def _learnable(results):
    """Which classes the mean over learnable classes leaves out; [] for results that do not know."""
    first, p = results["subsets"][0], results["protocol"]
    if "learnable" not in first:
        return []
    minimum = p.get("min_training", 1)
    out = [name for name in p["classes"] if name not in first["learnable"] and first["scores"]["iou"].get(name) is not None]
    what = "a training pixel" if minimum == 1 else f"{minimum} training pixels"
    return [f"Learnable classes have at least {what} in each fold that tests them; scored, but not learnable: {', '.join(out) or 'none'}."]


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
        metric = "macro F1 in % over the classes that occur or are predicted, weighted F1 and mAP over those that occur"
    scores = results["subsets"][0]["scores"]
    (key, _), what = TRIVIAL[results["task"]]
    if scores.get(key) is None:
        return metric
    name = COLUMNS[results["task"]][0][1]
    more = f", mAP {shown(scores['map_every_label'])}" if "map_every_label" in scores else ""
    return f"{metric}; a prediction of {what} scores {name} {shown(scores[key])}{more}"


def _pretrained_on(protocol):
    """On which data another run was pre-trained; results of earlier versions do not say."""
    run = protocol.get("pretrain_run")
    return f", on {run['dataset']}{' (SIMULATED)' if run['simulated'] else ''}, {' '.join(run['parts'])}" if run else ""


def _training(results):
    """How the model was trained, and which checkpoint was scored."""
    p = results["protocol"]
    if p.get("method"):
        return f"Seed: {p['seed']}. {p['method']}."
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


def rows(results: Results, shown_columns: Columns | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yields (name, cells) of each subset and, of a probe, of each subset with random weights; the last cell counts tiles."""
    keys = [key for key, _ in shown_columns or columns(results)]
    for kind, start in (("subsets", ""), ("floor", "random weights: ")):
        for entry in results.get(kind, []):
            scores = [shown(score(entry, key)) for key in keys]
            yield start + "+".join(entry["modalities"]), [*scores, _tiles(entry)]


def show(console: Console, results: Results) -> None:
    """Prints the scores of every subset, and their protocol below."""
    table = Table(title=Text(f"{results['name']}: test scores by modalities"), title_justify="left")
    table.add_column("modalities", no_wrap=True, min_width=min(LONGEST, max(len("+".join(entry["modalities"])) for entry in results["subsets"])))
    for _, title in (*columns(results), ("tiles", "tiles")):
        table.add_column(title, justify="right")
    for name, cells in rows(results):
        table.add_row(Text(name), *cells)
    console.print(table)
    for line in [*protocol_lines(results), *calibration_lines(results)]:
        console.print(line, markup=False, emoji=False, highlight=False)


def markdown(results: Results) -> str:
    """The text of results.md: protocol, scores of every subset, and scores per class with all modalities."""
    titles = [*(title for _, title in columns(results)), "tiles"]
    escape = escaping.markdown
    lines = [f"# {escape(results['name'])}", "", *(f"- {escape(line)}" for line in protocol_lines(results)), ""]
    lines += ["| modalities | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    lines += [f"| {escape(name)} | " + " | ".join(cells) + " |" for name, cells in rows(results)]
    if calibration := calibration_lines(results):
        lines += ["", "Calibration:", "", *(f"- {escape(line)}" for line in calibration)]
    first = results["subsets"][0]
    titles, cells = class_rows(results)
    lines += ["", f"Per class, with {escape('+'.join(first['modalities']))}:", "", "| class | " + " | ".join(titles) + " |"]
    lines += ["|---|" + "---:|" * len(titles), *(f"| {escape(name)} | " + " | ".join(row) + " |" for name, row in cells)]
    return "\n".join(lines) + "\n"


def class_rows(results: Results) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The table of classes, with all modalities: titles, and (class, cells) of each.

    Of dense labels it shows what each class is learned from and tested on, where the results say so; of joined folds, training is the
    smallest and the largest number of a fold.
    """
    first = results["subsets"][0]
    key, title = ("iou", "IoU") if results["task"] == "segment" else ("f1", "F1")
    table = [[name, "absent" if value is None else f"{value:.1f}"] for name, value in first["scores"][key].items()]
    titles = [title]
    if "training" in results and "confusion" in first:
        titles += ["training pixels", "test pixels"]
        counts = [_span(results["training"], "pixels"), [f"{sum(row):,}" for row in first["confusion"]]]
        if "parcels" in first:
            titles += ["training parcels", "test parcels"]
            counts += [_span(results["training"], "parcels"), [f"{sum(row):,}" for row in first["parcels"]["confusion"]]]
        table = [[*row, *more] for row, *more in zip(table, *counts, strict=True)]
    return titles, [(name, cells) for name, *cells in table]


def _span(training, key):
    """The number of each class, from the smallest to the largest of the folds."""
    ends = [(min(counts), max(counts)) for counts in zip(*(fold[key] for fold in training), strict=True)]
    return [f"{low:,}" if low == high else f"{low:,} to {high:,}" for low, high in ends]


def show_classes(console: Console, results: Results) -> None:
    """Prints the table of classes."""
    titles, cells = class_rows(results)
    table = Table(title=Text(f"classes, with {'+'.join(results['subsets'][0]['modalities'])}"), title_justify="left")
    table.add_column("class")
    for title in titles:
        table.add_column(title, justify="right")
    for name, row in cells:
        table.add_row(Text(name), *row)
    console.print(table)
