"""Pictures of what pre-training learned: tokens as colours, and which dates were looked at.

Letters: T dates, H W label pixels, h w places of attention, P patches, D width, N tiles.
"""

import pathlib

import matplotlib
import numpy as np
from scipy import ndimage
from sklearn.decomposition import PCA

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from omnisat_jax.report.pictures import class_colours, stretch  # noqa: E402

TILES = 12
PARCELS = 4
EMBEDDING, ATTENTION = "embedding.png", "attention.png"


class Collector:
    """Keeps the first tiles that `tasks.probe.TokenReader.evaluate` passes by, of the first subset, all modalities."""

    def __init__(self, tile_ids, limit: int = TILES):
        self._tile_ids, self._limit, self._tiles = tile_ids, limit, []

    def __call__(self, result):
        for index in np.flatnonzero(np.asarray(result["weight"]) > 0)[: self._limit - len(self._tiles)]:
            attention = {name: {k: np.asarray(v[index]) for k, v in entry.items()} for name, entry in result["attention"].items()}
            self._tiles.append(
                {
                    "tile": self._tile_ids[result["tile_index"][index]],
                    "tokens": np.asarray(result["tokens"][0][index], np.float32),
                    "labels": np.asarray(result["labels"][index]),
                    "attention": attention,
                }
            )

    def save(self, folder, classes, colours, title: str):
        """Writes embedding.png and, where an encoder attends to dates, attention.png into `folder`.

        Args:
          classes: names; colours: of `pictures.class_colours`; title: of both figures.
        """
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        figures = {EMBEDDING: embedding_figure(self._tiles, len(classes), colours, title)}
        richest = max(self._tiles, key=lambda tile: len(parcels(tile["labels"], len(classes))))
        if richest["attention"]:
            figures[ATTENTION] = attention_figure(richest, classes, colours, title)
        for name, figure in figures.items():
            figure.savefig(folder / name, dpi=90)
            plt.close(figure)


def embedding_colours(tokens):
    """Tokens (N,P,D) as colours (N,P,3) in [0, 1]: their three principal components over all tiles, stretched."""
    n, p, d = tokens.shape
    rows = tokens.reshape(n * p, d)
    count = min(3, d, len(rows))
    components = PCA(count, random_state=0).fit_transform(rows)
    filled = np.zeros((n * p, 3))
    filled[:, :count] = components
    return stretch(filled.reshape(n * p, 1, 3)).reshape(n, p, 3)


def embedding_figure(tiles, classes: int, colours, title: str):
    """A mosaic of tiles: the labels, which the tokens were never told, over the tokens of pre-training as colours."""
    images = embedding_colours(np.stack([tile["tokens"] for tile in tiles]))
    side = round(images.shape[1] ** 0.5)
    dense = tiles[0]["labels"].ndim == 2
    columns = min(6, len(tiles))
    rows = -(-len(tiles) // columns) * (1 + dense)
    figure, axes = plt.subplots(rows, columns, figsize=(1.7 * columns, 1.75 * rows + 0.6), squeeze=False, layout="constrained")
    for place in axes.flat:
        place.axis("off")
    palette = class_colours(classes, colours)
    for index, (tile, image) in enumerate(zip(tiles, images)):
        row, column = divmod(index, columns)
        if dense:
            axes[2 * row, column].imshow(palette[np.minimum(tile["labels"], classes)], interpolation="nearest")
        shown = axes[row * (1 + dense), column]
        shown.set_title(tile["tile"], fontsize=8)
        axes[row * (1 + dense) + dense, column].imshow(image.reshape(side, side, 3), interpolation="nearest")
    what = "labels above, tokens below: " if dense else "tokens: "
    figure.suptitle(f"{title}\n{what}their three principal components as red, green, blue", fontsize=9)
    return figure


def parcels(labels, classes: int):
    """[(class, (H,W) bool)] the largest connected piece of each class but 0 in labels (H,W), largest first, at most `PARCELS`; [] of tile labels."""
    if labels.ndim != 2:
        return []
    found = []
    for value in np.unique(labels[(labels > 0) & (labels < classes)]):
        pieces, _ = ndimage.label(labels == value)
        sizes = np.bincount(pieces.ravel())[1:]
        found.append((int(value), pieces == 1 + sizes.argmax()))
    return sorted(found, key=lambda item: -item[1].sum())[:PARCELS]


def parcel_attention(weights, mask):
    """(T,) mean attention over a parcel: weights (T,h,w), mask (H,W) bool; or over everything, mask None."""
    if mask is None:
        return weights.mean((1, 2))
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return weights[:, rows * weights.shape[1] // height, columns * weights.shape[2] // width].mean(1)


def attention_figure(tile, classes, colours, title: str):
    """How much each date of each series counted, for the largest parcels of a tile, or for a whole tile whose labels are no map."""
    palette = class_colours(len(classes), colours)
    places = parcels(tile["labels"], len(classes)) or [(None, None)]
    series = tile["attention"]
    figure, axes = plt.subplots(len(series), 1, figsize=(9, 2.1 * len(series) + 0.8), squeeze=False, layout="constrained")
    for place, (name, entry) in zip(axes[:, 0], series.items()):
        valid = entry["valid"]
        order = np.argsort(entry["dates"][valid])
        for value, mask in places:
            weights = 100 * parcel_attention(entry["weights"], mask)[valid][order]
            label = "whole tile" if value is None else f"{classes[value]} ({int(mask.sum())} px)"
            place.plot(
                entry["dates"][valid][order], weights, "o-", markersize=3, linewidth=1.2, label=label,
                color="black" if value is None else palette[value],
            )  # fmt: skip
        if valid.any():
            place.axhline(100 / valid.sum(), color="grey", linewidth=0.8, linestyle=":")
        place.set_ylabel(f"{name}: % of attention", fontsize=8)
        place.spines[["top", "right"]].set_visible(False)
        place.tick_params(labelsize=8)
    axes[0, 0].legend(fontsize=8, frameon=False, ncols=len(places), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes[-1, 0].set_xlabel("date (days since the dataset's day 0); dotted: every date alike", fontsize=8)
    figure.suptitle(f"{title}\ntile {tile['tile']}: mean attention per date over each parcel", fontsize=9)
    return figure
