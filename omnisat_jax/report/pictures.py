"""Pictures of data and scores: class colors, satellite images in RGB, and the confusion matrix.

Letters: T dates, H W pixels, C bands, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402

from omnisat_jax import colours as palette  # noqa: E402
from omnisat_jax.missing import measured  # noqa: E402
from omnisat_jax.words import number_of

# Names of classes, tiles and sensors are plain text, never formulas, whatever the user's matplotlibrc says.
matplotlib.rcParams["text.parse_math"] = False
matplotlib.rcParams["text.usetex"] = False

TRUE_COLOUR = (("R", "G", "B"), ("B04", "B03", "B02"))
MISSING = 0.85  # gray of pixels without a measurement


def class_colours(count: int, colours: Sequence[str] = ()) -> np.ndarray:
    """Colors of the classes and, last, of void, which is white.

    Args:
      count: number of classes, K.
      colours: "#rrggbb" of each class; () = the default palette.

    Returns:
      (K + 1, 3) float in [0, 1].
    """
    return np.array([*map(to_rgb, palette.class_colours(count, colours)), (1.0, 1.0, 1.0)])


def true_colour(bands: Sequence[str]) -> list[int] | None:
    """Indices of the red, green and blue bands, or None if one of them is missing."""
    return next(([bands.index(name) for name in names] for names in TRUE_COLOUR if set(names) <= set(bands)), None)


def confusion_figure(confusion: np.ndarray | Sequence[Sequence[float]], classes: Sequence[str], title: str) -> Figure:
    """Draws a confusion matrix with rows normalized to 100 %, for the classes that occur in labels or predictions.

    Args:
      confusion: (K, K+1) pixel counts, labels by predictions; the last column counts predictions of no class.
      classes: names of the K classes.
      title: of the figure.
    """
    counts = np.asarray(confusion)[:, : len(classes)]
    seen = np.flatnonzero(counts.sum(0) + counts.sum(1))
    if not len(seen):  # no pixel was counted
        seen = np.arange(len(classes))
    counts = counts[np.ix_(seen, seen)]
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.42 * len(seen)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(*share.shape):
        if share[row, column] >= 0.5:
            axes.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=7,
                      color="white" if share[row, column] > 55 else "black")  # fmt: skip
    names = [classes[int(i)] for i in seen]
    axes.set_xticks(range(len(seen)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(seen)), names, fontsize=8)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    axes.set_title(f"{title}\n% of each label's pixels", fontsize=10)
    return figure


def render(entry: Mapping[str, Any], index: int, bands: Sequence[str]) -> tuple[np.ndarray, str] | None:
    """Turns one image or series of a host batch into a picture.

    A series is shown at a clear date if it has true colors, else as the mean of its first band.

    Args:
      entry: the modality's part of a batch: "values" (B,[T,]H,W,C), "present" (B,) and, of series, "valid" and "dates" (B,T).
      index: of the sample in the batch.
      bands: names of the C bands; () if unknown.

    Returns:
      (H,W,3) in [0, 1] and what it shows, or None if the sample lacks the modality.
    """
    if not entry["present"][index]:
        return None
    values, colour = entry["values"][index], true_colour(bands)
    band = bands[0] if bands else "first band"
    known = measured(values)
    if values.ndim == 3:
        return picture(values, known, colour or [0]), "true color" if colour else band
    valid = entry["valid"][index]
    if colour:
        date = _clear_date(values[..., colour[2]], known[..., colour[2]], valid)
        return picture(values[date], known[date], colour), f"day {entry['dates'][index, date]}"
    used = (known & valid[:, None, None, None])[..., :1]
    mean = np.where(used, values[..., :1], 0).sum(0, dtype=np.float64) / np.maximum(used.sum(0), 1)
    return picture(mean, used.any(0), [0]), f"mean {band} of {number_of(int(valid.sum()), 'date')}"


def _clear_date(blue, known, valid):
    """The index of a date without clouds; blue, known (T,H,W), valid (T,)."""
    # Clouds are the brightest blue of a frame: a date whose brightest pixels are dark is clear. The very darkest are in shadow.
    peak = np.percentile(blue.astype(float), 95, axis=(1, 2))
    order = np.argsort(np.where(known.any((1, 2)) & valid, peak, np.inf))
    return int(order[int(valid.sum()) // 8])


def picture(values: np.ndarray, known: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """An image in RGB, stretched over its known pixels; the others are light gray.

    Args:
      values: (H,W,C) measurements.
      known: (H,W,C) bool, which of them are measurements.
      channels: three bands for red, green and blue, or one for gray.

    Returns:
      (H,W,3) float in [0, 1].
    """
    chosen = values[..., channels]
    usable = known[..., channels].all(-1)
    shown = np.full((*usable.shape, 3), MISSING)
    if usable.any():
        shown[usable] = stretch(chosen[usable].astype(float)[:, None])[:, 0]
    return shown


def stretch(image: np.ndarray, *, each_band: bool = False) -> np.ndarray:
    """Scales an image (H,W,C) from its 2nd and 98th percentiles to [0, 1]; colors that are nowhere negative, from 0.

    Bands share one range, so that grey ground stays grey: with a range for each, a bare field can turn magenta. The range goes no further than Tukey's
    fences: a lake in a radar image would otherwise take all contrast from the fields.

    Args:
      image: (H,W,C).
      each_band: bands are quantities that cannot be compared, such as principal components, and each gets its own range.
    """
    low, lower, upper, high = np.percentile(image, (2, 25, 75, 98), axis=(0, 1) if each_band else None)
    reach = np.where(upper > lower, 1.5 * (upper - lower), np.inf)
    low, high = np.maximum(low, lower - reach), np.minimum(high, upper + reach)
    if image.shape[-1] == 3 and not each_band and image.min() >= 0:
        low = np.zeros(())  # black is no reflectance: a raised foot would take the blue out of everything
    return np.clip((image - low) / np.maximum(high - low, 1e-9), 0, 1)
