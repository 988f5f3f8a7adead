"""The figures of the HTML report, as data URIs of small SVG or PNG files."""

import base64
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from omnisat_jax.report.pictures import class_colours  # noqa: E402

# Distinguishable without color vision (Okabe & Ito 2008).
BLUE, ORANGE, GREEN, RED, PURPLE, GREY, LIGHT = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#777777", "#BBBBBB"
# Validation scores that may be drawn beside the loss: the first one that a stage has.
VALIDATION = ("miou", "f1_macro", "knn_miou", "knn_f1_macro", "contrastive_accuracy")
# What earlier versions called one of them in metrics.jsonl.
RENAMED = {"validation_contrast_accuracy": "validation_contrastive_accuracy"}
CAUSES = {
    "start": GREY, "restore": LIGHT, "compile": ORANGE, "data wait": RED, "steps": BLUE, "evaluation": GREEN, "save": PURPLE,
}  # fmt: skip


def as_svg(figure: Figure) -> str:
    """A data URI of a figure, which is closed."""
    out = io.BytesIO()
    with plt.rc_context({"svg.fonttype": "none"}):
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()


def as_png(image: np.ndarray) -> str:
    """A data URI of an image (H,W,3), float in [0, 1] or uint8."""
    out = io.BytesIO()
    plt.imsave(out, np.asarray(image), format="png")
    return _png_uri(out.getvalue())


def as_file(path: pathlib.Path) -> str:
    """A data URI of a PNG file."""
    return _png_uri(path.read_bytes())


def _png_uri(content):
    return "data:image/png;base64," + base64.b64encode(content).decode()


def class_map(labels: np.ndarray, classes: int, colours: Sequence[str]) -> str:
    """A data URI of a map of classes (H,W); values from `classes` on are white."""
    return as_png(class_colours(classes, colours)[np.minimum(labels, classes)])


def _axes(width=5.2, height=2.4):
    figure, axes = plt.subplots(figsize=(width, height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def current_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of metrics.jsonl of any version, with the present names of the validation scores."""
    return {RENAMED.get(key, key): value for key, value in row.items()}


def curves(rows: Sequence[Mapping[str, Any]], stage: str) -> str | None:
    """The training loss of a stage with its validation score beside it; None if it has no loss.

    Args:
      rows: of metrics.jsonl.
      stage: "pretrain" or "finetune".
    """
    rows = [current_names(row) for row in rows if row["stage"] == stage]
    loss = [(row["step"], row["loss"]) for row in rows if row.get("loss") is not None]
    if not loss:
        return None
    figure, axes = _axes()
    axes.plot(*zip(*loss), color=BLUE, label="training loss")
    axes.set_xlabel("step", fontsize=8)
    axes.set_ylabel("loss", fontsize=8, color=BLUE)
    keys = [f"validation_{name}" for name in VALIDATION]
    if key := next((key for key in keys if any(key in row for row in rows)), None):
        other = axes.twinx()
        other.spines[["top"]].set_visible(False)
        points = [(row["step"], row[key]) for row in rows if row.get(key) is not None and np.isfinite(row[key])]
        if points:
            other.plot(*zip(*points), "o-", color=RED, markersize=4)
        other.set_ylabel(key.replace("_", " "), fontsize=8, color=RED)
        other.tick_params(labelsize=8)
    return as_svg(figure)


def bars(
    values: Mapping[str, float | None],
    unit: str,
    *,
    colours: Sequence[Any] | np.ndarray | None = None,
    intervals: Mapping[str, Sequence[float]] | None = None,
    missing: str = "absent",
) -> str:
    """Horizontal bars, the first on top.

    Args:
      values: {name: length}; None or nan for no value.
      unit: label of the axis.
      colours: one per bar; None = blue.
      intervals: {name: (low, high)} of some bars.
      missing: text in place of a bar without a value.
    """
    names = list(values)
    figure, axes = _axes(6, 0.6 + 0.26 * len(names))
    known = {name: value for name, value in values.items() if value is not None and np.isfinite(value)}
    ends = {name: pair for name, pair in (intervals or {}).items() if name in known and np.isfinite(pair).all()}
    lengths = [known.get(name, 0.0) for name in names]
    reach = max([*lengths, *(high for _, high in ends.values())])
    axes.barh(range(len(names)), lengths, color=BLUE if colours is None else colours, edgecolor="#444444", linewidth=0.4)
    for row, name in enumerate(names):
        edge = lengths[row]
        if name in ends:
            low, high = ends[name]
            axes.plot([low, high], [row, row], color="black", linewidth=1.4)
            edge = max(edge, high)
        axes.text(edge + 0.02 * reach, row, f"{known[name]:.1f}" if name in known else missing, va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(unit, fontsize=8)
    axes.set_xlim(0, 1.15 * max(reach, 1.0))
    return as_svg(figure)


def in_words(values: Mapping[str, float | None], missing: str = "absent") -> str:
    """The bars of `bars` as text: "a 52.4, b absent"."""
    known = {name: f"{value:.1f}" if value is not None and np.isfinite(value) else missing for name, value in values.items()}
    return ", ".join(f"{name} {text}" for name, text in known.items())


def reliability(counts: ArrayLike, scaled: ArrayLike | None = None, *, dense: bool = True) -> str:
    """Accuracy of the predictions by their confidence (line), and how many there are of each confidence (bars).

    Args:
      counts: (BINS,3) per bin of confidence: pixels, sum of their confidences, correct pixels; see `metrics.calibration`.
      scaled: the same with a temperature, as a second line; or None.
      dense: whether predictions are classes of pixels, not labels of tiles.
    """
    pixels = np.asarray(counts, float)[:, 0]
    figure, axes = _axes(3.4, 3.0)
    centres = (np.arange(len(pixels)) + 0.5) / len(pixels)
    axes.bar(centres, pixels / max(pixels.sum(), 1), width=0.9 / len(pixels), color=GREY, alpha=0.35)
    axes.plot([0, 1], [0, 1], ":", color="black", linewidth=1)
    lines = [(counts, "o-", BLUE, "as trained")] + ([(scaled, "s--", RED, "with temperature")] if scaled is not None else [])
    for line, style, colour, label in lines:
        pixels, confidence, correct = np.asarray(line, float).T
        seen = pixels > 0
        axes.plot(confidence[seen] / pixels[seen], correct[seen] / pixels[seen], style, color=colour, markersize=4, label=label)
    if scaled is not None:
        axes.legend(fontsize=7, loc="upper left", frameon=False)
    axes.set_xlabel("probability of the predicted class" if dense else "probability of a label", fontsize=8)
    axes.set_ylabel("share of correct pixels" if dense else "share of tiles that have it", fontsize=8)
    return as_svg(figure)


def time_spent(seconds: Mapping[str, Mapping[str, float]]) -> str:
    """Stacked bars of the time that each stage spent; {stage: {cause: seconds}}."""
    causes = [cause for cause in CAUSES if any(cause in spent for spent in seconds.values())]
    figure, axes = _axes(6, 0.9 + 0.4 * len(seconds))
    for row, spent in enumerate(seconds.values()):
        left = 0.0
        for cause in causes:
            axes.barh(row, spent.get(cause, 0), left=left, color=CAUSES[cause], label=cause if not row else None)
            left += spent.get(cause, 0)
    axes.set_yticks(range(len(seconds)), list(seconds), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("seconds", fontsize=8)
    axes.legend(fontsize=7, ncols=len(causes), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return as_svg(figure)
