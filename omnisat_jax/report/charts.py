"""The figures of the HTML report, as small SVG or PNG files inside the page."""

import base64
import io

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from omnisat_jax.report.pictures import class_colours  # noqa: E402

# Distinguishable without colour vision (Okabe & Ito 2008).
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"


def as_svg(figure) -> str:
    """A data URI of a figure, which is closed."""
    out = io.BytesIO()
    with plt.rc_context({"svg.fonttype": "none"}):
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()


def as_png(image) -> str:
    """A data URI of an image (H,W,3) in [0, 1] or uint8."""
    out = io.BytesIO()
    plt.imsave(out, np.asarray(image), format="png")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def as_file(path) -> str:
    """A data URI of a PNG file."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def class_map(labels, classes: int, colours) -> str:
    """A data URI of labels (H,W); what is no class is white."""
    return as_png(class_colours(classes, colours)[np.minimum(labels, classes)])


def _axes(width=5.2, height=2.4):
    figure, axes = plt.subplots(figsize=(width, height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def curves(rows, stage: str) -> str | None:
    """Training loss, and the validation score beside it; rows of metrics.jsonl."""
    rows = [row for row in rows if row["stage"] == stage]
    loss = [(row["step"], row["loss"]) for row in rows if row.get("loss") is not None]
    if not loss:
        return None
    figure, axes = _axes()
    axes.plot(*zip(*loss), color=BLUE, label="training loss")
    axes.set_xlabel("step", fontsize=8)
    axes.set_ylabel("loss", fontsize=8, color=BLUE)
    key = next(
        (
            k
            for k in (
                "validation_miou",
                "validation_f1_macro",
                "validation_knn_miou",
                "validation_knn_f1_macro",
                "validation_contrast_accuracy",
            )
            if any(k in row for row in rows)
        ),
        None,
    )
    if key:
        other = axes.twinx()
        other.spines[["top"]].set_visible(False)
        points = [(row["step"], row[key]) for row in rows if row.get(key) is not None and np.isfinite(row[key])]
        if points:
            other.plot(*zip(*points), "o-", color=RED, markersize=4)
        other.set_ylabel(key.replace("_", " "), fontsize=8, color=RED)
        other.tick_params(labelsize=8)
    return as_svg(figure)


def bars(values: dict, unit: str, colours=None, intervals=None, missing: str = "absent") -> str:
    """Horizontal bars, the first on top; intervals: {name: (low, high)}; missing: what is said of values that are None or nan."""
    names = list(values)
    figure, axes = _axes(6, 0.6 + 0.26 * len(names))
    values = {name: value if value is not None and np.isfinite(value) else None for name, value in values.items()}
    intervals = {name: ends for name, ends in (intervals or {}).items() if values[name] is not None and np.isfinite(ends).all()}
    shown = [values[name] if values[name] is not None else 0 for name in names]
    reach = max([*shown, *(high for _, high in intervals.values())])
    axes.barh(range(len(names)), shown, color=BLUE if colours is None else colours, edgecolor="#444444", linewidth=0.4)
    for place, name in enumerate(names):
        text = missing if values[name] is None else f"{values[name]:.1f}"
        edge = shown[place]
        if name in intervals:
            low, high = intervals[name]
            axes.plot([low, high], [place, place], color="black", linewidth=1.4)
            edge = max(edge, high)
        axes.text(edge + 0.02 * reach, place, text, va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(unit, fontsize=8)
    axes.set_xlim(0, 1.15 * max(reach, 1.0))
    return as_svg(figure)


def reliability(counts) -> str:
    """How often predictions are right (line) by how sure they are, and how many there are (bars); counts (BINS,3)."""
    pixels, sure, right = np.asarray(counts, float).T
    figure, axes = _axes(3.4, 3.0)
    seen = pixels > 0
    axes.bar((np.arange(len(pixels)) + 0.5) / len(pixels), pixels / max(pixels.sum(), 1), width=0.9 / len(pixels), color=GREY, alpha=0.35)
    axes.plot([0, 1], [0, 1], ":", color="black", linewidth=1)
    axes.plot(sure[seen] / pixels[seen], right[seen] / pixels[seen], "o-", color=BLUE, markersize=4)
    axes.set_xlabel("probability of the predicted class", fontsize=8)
    axes.set_ylabel("share that is right", fontsize=8)
    return as_svg(figure)


def time_spent(seconds: dict) -> str:
    """Stacked bars of where the time of each stage went; {stage: {cause: seconds}}."""
    causes = [
        cause
        for cause in ("start", "restore", "compile", "data wait", "steps", "evaluation", "save")
        if any(cause in s for s in seconds.values())
    ]
    palette = dict(zip(causes, (GREY, "#BBBBBB", ORANGE, RED, BLUE, GREEN, "#CC79A7")))
    figure, axes = _axes(6, 0.9 + 0.4 * len(seconds))
    for place, spent in enumerate(seconds.values()):
        left = 0.0
        for cause in causes:
            axes.barh(place, spent.get(cause, 0), left=left, color=palette[cause], label=cause if not place else None)
            left += spent.get(cause, 0)
    axes.set_yticks(range(len(seconds)), list(seconds), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("seconds", fontsize=8)
    axes.legend(fontsize=7, ncols=len(causes), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return as_svg(figure)
