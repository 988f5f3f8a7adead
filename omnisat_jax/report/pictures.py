"""Pictures of an evaluation: confusion matrix and panels of inputs, labels and predictions."""

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

from omnisat_jax.missing import NO_DATA_INT16  # noqa: E402

# Names of classes, tiles and sensors are shown, never taken for formulas, whatever a user's matplotlibrc says.
matplotlib.rcParams["text.parse_math"] = False
matplotlib.rcParams["text.usetex"] = False

_TAB20 = [matplotlib.colormaps["tab20"](i)[:3] for i in range(20)]
TRUE_COLOUR = (("R", "G", "B"), ("B04", "B03", "B02"))


def class_colours(count: int, colours=()) -> np.ndarray:
    """(count + 1, 3) colours of classes 0..count-1 and, last, void, which is white.

    Without `colours` ("#rrggbb" each): tab20 with class 0 black, as in the PASTIS authors' notebooks.
    """
    own = [to_rgb(colour) for colour in colours] or [(0.0, 0.0, 0.0)] + [_TAB20[i % 20] for i in range(1, count)]
    return np.array([*own, (1.0, 1.0, 1.0)])


def true_colour(bands) -> list[int] | None:
    """Positions of red, green and blue among the names of bands, or None."""
    return next(([bands.index(name) for name in names] for names in TRUE_COLOUR if set(names) <= set(bands)), None)


def confusion_figure(confusion, classes, title: str):
    """The figure of a confusion matrix, rows normalised to 100 %, only classes that occur in labels or predictions.

    Args:
      confusion: (K, K+1) pixel counts, label by prediction.
    """
    confusion = np.asarray(confusion)[:, : len(classes)]
    seen = np.flatnonzero(confusion.sum(0) + confusion.sum(1))
    if not len(seen):  # nothing was counted
        seen = np.arange(len(classes))
    counts = confusion[np.ix_(seen, seen)]
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.42 * len(seen)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(*share.shape):
        if share[row, column] >= 0.5:
            axes.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=7,
                      color="white" if share[row, column] > 55 else "black")  # fmt: skip
    names = [classes[i] for i in seen]
    axes.set_xticks(range(len(seen)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(seen)), names, fontsize=8)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    axes.set_title(f"{title}\n% of each label's pixels", fontsize=10)
    return figure


def render(entry, index: int, bands):
    """One series or image of a host batch as a picture, and what it shows; None where the sample lacks it."""
    if not entry["present"][index]:
        return None
    values, colour = entry["values"][index], true_colour(bands)
    if values.ndim == 3:
        if colour:
            return stretch(values[..., colour].astype(float)), "true colour"
        return stretch(values[..., [0]].astype(float).repeat(3, -1)), bands[0] if bands else "first band"
    known = values != NO_DATA_INT16 if values.dtype == np.int16 else np.isfinite(values)
    valid = entry["valid"][index]
    if colour:
        # Clouds are the brightest blue of a frame: the date whose brightest pixels are dark is clear. The very darkest are in shadow.
        peak = np.percentile(values[..., colour[2]].astype(float), 95, axis=(1, 2))
        blue = np.where(known[..., colour[2]].any((1, 2)) & valid, peak, np.inf)
        order = np.argsort(blue)[: int(valid.sum())]
        date = order[len(order) // 8]
        return stretch(np.where(known[date], values[date], 0)[..., colour].astype(float)), f"day {entry['dates'][index, date]}"
    chosen = np.where(known & valid[:, None, None, None], values, np.nan)[..., 0]
    filled = np.nan_to_num(np.nanmean(chosen, 0), nan=float(np.nanmean(chosen)))
    return stretch(filled[..., None].repeat(3, -1)), f"mean {bands[0] if bands else 'first band'} of {int(valid.sum())} dates"


def stretch(image):
    """An image (H,W,C) between its 2nd and 98th percentiles, in [0, 1].

    At most as far as Tukey's fences: a lake in a radar image would take all contrast from the fields.
    """
    low, lower, upper, high = np.percentile(image, (2, 25, 75, 98), axis=(0, 1))
    reach = np.where(upper > lower, 1.5 * (upper - lower), np.inf)
    low, high = np.maximum(low, lower - reach), np.minimum(high, upper + reach)
    return np.clip((image - low) / np.maximum(high - low, 1e-9), 0, 1)


def save_panels(path, samples, modalities, classes, ignore: int, title: str, colours=()):
    """One row a tile: every modality, the label, the prediction of each chosen subset.

    Args:
      samples: dicts with "tile", "batch" (host batch), "index", "labels", and "predictions" {subset name: classes (H,W), or
        probabilities (K,)}.
      modalities: {name: names of its bands}, in order.
      classes, ignore: names of the classes and the void label.
      title: of the figure.
      colours: see `class_colours`.
    """
    subsets = list(samples[0]["predictions"])
    dense = samples[0]["labels"].ndim == 2
    columns = len(modalities) + (1 + len(subsets) if dense else 1)
    figure, grid = plt.subplots(
        len(samples),
        columns,
        figsize=(2.3 * columns + (0 if dense else 2), 2.4 * len(samples) + 1.3),
        layout="constrained",
        squeeze=False,
    )
    colours, used = class_colours(len(classes), colours), set()
    for row, sample in zip(grid, samples):
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(f"tile {sample['tile'][:24]}", fontsize=8)
        for axes, name in zip(row, modalities):
            entry, index = sample["batch"][name], sample["index"]
            place = entry["values"][index] if entry["values"].ndim == 2 else None
            shown = render(entry, index, modalities[name]) if place is None else None
            if shown is None:
                text = "absent" if place is None or not entry["present"][index] else _degrees(*place)
                axes.text(0.5, 0.5, text, ha="center", va="center")
                axes.set_title(name, fontsize=9)
            else:
                axes.imshow(shown[0], interpolation="nearest")
                axes.set_title(f"{name}: {shown[1]}", fontsize=9)
        rest = row[len(modalities) :]
        if dense:
            maps = {"label": sample["labels"]} | sample["predictions"]
            for axes, (name, values) in zip(rest, maps.items()):
                index = np.where((values == ignore) | (values >= len(classes)), len(classes), values)
                used |= set(np.unique(index).tolist())
                axes.imshow(colours[index], interpolation="nearest")
                axes.set_title(name, fontsize=9)
        else:
            _write_labels(rest[0], sample, classes)
    if dense:
        names = [*classes, "void"]
        handles = [Patch(facecolor=colours[i], edgecolor="grey", label=names[i]) for i in sorted(used)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(7, len(handles)), fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _degrees(longitude, latitude):
    return f"{abs(latitude):.3f}° {'N' if latitude >= 0 else 'S'}\n{abs(longitude):.3f}° {'E' if longitude >= 0 else 'W'}"


def _write_labels(axes, sample, classes):
    """True labels and the most probable predictions of each subset, as text."""
    axes.axis("off")
    true = [name for name, value in zip(classes, sample["labels"]) if value > 0.5]
    lines = ["label: " + (", ".join(true) or "none")]
    for subset, probability in sample["predictions"].items():
        top = np.argsort(-probability)[:3]
        lines.append(f"\n{subset}:\n" + "\n".join(f"  {classes[i]} {100 * probability[i]:.0f} %" for i in top))
    axes.text(0, 1, "\n".join(lines), va="top", fontsize=8, transform=axes.transAxes)
