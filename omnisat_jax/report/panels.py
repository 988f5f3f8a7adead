"""Panels of test tiles: inputs, labels and predictions, for panels.png and for the HTML report.

Letters: N tiles, S subsets of modalities, H W pixels, K classes.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

from omnisat_jax.modalities import LOCATION  # noqa: E402
from omnisat_jax.records.info import ModalityInfo  # noqa: E402
from omnisat_jax.report.pictures import class_colours, render, true_colour  # noqa: E402
from omnisat_jax.report.saving import save_arrays, save_figure  # noqa: E402
from omnisat_jax.types import Batch, StrPath  # noqa: E402

VOID = 255  # predicted class of tiles that hold no modality of the subset
BANDS = Mapping[str, Sequence[str]]  # {modality: names of its bands}, in model order


@dataclasses.dataclass(frozen=True)
class Panel:
    """One test tile and what was predicted for it.

    Attributes:
      tile: its name.
      batch: the host batch that holds it.
      index: its row in the batch.
      labels: (H,W) classes, or (K,) labels of the tile.
      predictions: {subset, as "s1+s2": (H,W) classes, or (K,) probabilities}; empty arrays of tile labels where the tile holds no
        modality of the subset.
    """

    tile: str
    batch: Batch
    index: int
    labels: np.ndarray
    predictions: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ClassLegend:
    """How classes are shown.

    Attributes:
      names: of the K classes.
      colours: "#rrggbb" of each class; () = the default palette.
      ignore: label of void pixels.
    """

    names: Sequence[str]
    colours: Sequence[str]
    ignore: int


class PanelCollector:
    """Keeps the first `limit` test tiles of an evaluation, with the predictions of every subset."""

    def __init__(self, limit: int, subsets: Sequence[Sequence[str]], tile_names: Sequence[str], rows: Sequence[int]):
        """Starts without tiles.

        Args:
          limit: how many tiles are kept.
          subsets: names of modalities, in the order of the predictions.
          tile_names: in the order of `tile_index`.
          rows: of the global batch that the host batches hold.
        """
        self._limit, self._tile_names, self._rows = limit, tile_names, rows
        self._subsets = ["+".join(subset) for subset in subsets]
        self.panels: list[Panel] = []

    def __call__(self, host: Batch, result: Mapping[str, np.ndarray]) -> None:
        """Keeps tiles of a host batch; `result` is what `evaluate` returned for the global batch."""
        for index in map(int, np.flatnonzero(host["weight"] > 0)):
            if len(self.panels) >= self._limit:
                return
            row = self._rows[index]
            predictions = {
                subset: _blank_unless(result["has_any"][s][row], result["predicted"][s][row]) for s, subset in enumerate(self._subsets)
            }
            tile = self._tile_names[int(host["tile_index"][index])]
            self.panels.append(Panel(tile, host, index, host["labels"][index], predictions))

    def save(self, path: StrPath, bands: BANDS) -> None:
        """Writes what the HTML report shows of dense predictions as a .npz file.

        Its arrays are "tile" (N,), "subsets" (S,), "labels" (N,H,W), "predictions" (N,S,H,W) and "input/<n>/<modality>" (H,W,3) uint8.
        """
        arrays = {
            "tile": np.array([panel.tile for panel in self.panels]),
            "subsets": np.array(self._subsets),
            "labels": np.stack([panel.labels for panel in self.panels]),
            "predictions": np.stack([np.stack(list(panel.predictions.values())) for panel in self.panels]),
        }
        for number, panel in enumerate(self.panels):
            for name, names in bands.items():
                entry = panel.batch[name]
                shown = render(entry, panel.index, names) if entry["values"].ndim > 2 else None
                if shown is not None:
                    arrays[f"input/{number}/{name}"] = (255 * shown[0]).astype(np.uint8)
        save_arrays(path, arrays)


def _blank_unless(has_any, predicted):
    """A prediction (H,W) or (K,) if the tile holds some modality of the subset, else void everywhere, or empty."""
    if has_any:
        return predicted
    return np.full_like(predicted, VOID) if predicted.ndim == 2 else predicted[:0]


def typical_modality(modalities: Mapping[str, ModalityInfo]) -> str:
    """The modality that a user is most likely to have alone.

    It is the first series with red, green and blue bands, such as Sentinel-2; without one the first series, and without any series the
    last image.
    """
    sensors = {name: stored for name, stored in modalities.items() if stored.kind != LOCATION}
    series = [name for name, stored in sensors.items() if stored.kind == "series"]
    optical = [name for name in series if true_colour(sensors[name].bands)]
    return [*optical, *series, *list(sensors)[::-1]][0]


def shown_subsets(subsets: Sequence[Sequence[str]], modalities: Mapping[str, ModalityInfo]) -> dict[str, str]:
    """{title: subset} of the predictions in panels.png: from all modalities, and from the typical one alone.

    Args:
      subsets: scored subsets, all modalities first.
      modalities: how each one is stored.
    """
    whole = tuple(subsets[0])
    single = typical_modality({name: modalities[name] for name in whole})
    shown = {f"all: {'+'.join(whole)}": "+".join(whole)}
    return shown | ({f"only {single}": single} if (single,) in {tuple(subset) for subset in subsets[1:]} else {})


def save_panels(
    path: StrPath, panels: Sequence[Panel], *, bands: BANDS, shown: Mapping[str, str], classes: ClassLegend, title: str
) -> None:
    """Draws one row per tile: every modality, the label, and the prediction from each of some subsets.

    Args:
      path: PNG file to write.
      panels: the tiles, at least one.
      bands: modalities to draw.
      shown: {title: subset} of the predictions to draw.
      classes: names and colors.
      title: of the figure.
    """
    dense = panels[0].labels.ndim == 2
    columns = len(bands) + (1 + len(shown) if dense else 1)
    size = (2.3 * columns + (0 if dense else 2), 2.4 * len(panels) + 1.3)
    figure, grid = plt.subplots(len(panels), columns, figsize=size, layout="constrained", squeeze=False)
    used: set[int] = set()
    for row, panel in zip(grid, panels):
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(f"tile {panel.tile[:24]}", fontsize=8)
        for axes, name in zip(row, bands):
            _draw_input(axes, panel, name, bands[name])
        predictions = {name: panel.predictions[subset] for name, subset in shown.items() if panel.predictions[subset].size}
        if dense:
            used |= _draw_maps(row[len(bands) :], {"label": panel.labels} | predictions, classes)
        else:
            _write_labels(row[len(bands)], panel.labels, predictions, classes.names)
    if dense:
        names, palette = [*classes.names, "void"], class_colours(len(classes.names), classes.colours)
        handles = [Patch(facecolor=tuple(palette[i].tolist()), edgecolor="grey", label=names[i]) for i in sorted(used)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(7, len(handles)), fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path, dpi=110)
    plt.close(figure)


def _draw_input(axes, panel, name, bands):
    """One modality of a tile: its picture, the coordinates of a location, or that it is absent."""
    entry = panel.batch[name]
    location = entry["values"][panel.index] if entry["values"].ndim == 2 else None
    shown = render(entry, panel.index, bands) if location is None else None
    if shown is not None:
        axes.imshow(shown[0], interpolation="nearest")
        axes.set_title(f"{name}: {shown[1]}", fontsize=9)
        return
    text = "absent" if location is None or not entry["present"][panel.index] else _degrees(*location)
    axes.text(0.5, 0.5, text, ha="center", va="center")
    axes.set_title(name, fontsize=9)


def _draw_maps(row, maps, classes):
    """Maps of classes {title: (H,W)}; returns the classes that occur, with K for void."""
    count, used = len(classes.names), set()
    palette = class_colours(count, classes.colours)
    for axes, (name, values) in zip(row, maps.items()):
        index = np.where((values == classes.ignore) | (values >= count), count, values)
        used |= set(np.unique(index).tolist())
        axes.imshow(palette[index], interpolation="nearest")
        axes.set_title(name, fontsize=9)
    return used


def _degrees(longitude, latitude):
    return f"{abs(latitude):.3f}° {'N' if latitude >= 0 else 'S'}\n{abs(longitude):.3f}° {'E' if longitude >= 0 else 'W'}"


def _write_labels(axes, labels, predictions, names):
    """The labels of a tile and the three most probable ones from each subset, as text."""
    axes.axis("off")
    true = [name for name, value in zip(names, labels) if value > 0.5]
    lines = ["label: " + (", ".join(true) or "none")]
    for subset, probability in predictions.items():
        top = np.argsort(-probability)[:3]
        lines.append(f"\n{subset}:\n" + "\n".join(f"  {names[i]} {100 * probability[i]:.0f} %" for i in top))
    axes.text(0, 1, "\n".join(lines), va="top", fontsize=8, transform=axes.transAxes)
