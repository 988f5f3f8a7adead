"""Pictures of what pre-training learned: tokens as colors, and the attention over dates.

Letters: N tiles, T dates, H W label pixels, h w cells of the attention maps, P patches, D width, K classes.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from omnisat_jax.report.pictures import class_colours, stretch  # noqa: E402
from omnisat_jax.report.saving import save_figure  # noqa: E402
from omnisat_jax.types import StrPath  # noqa: E402

TILES = 12
PARCELS = 4
EMBEDDING, ATTENTION = "embedding.png", "attention.png"


@dataclasses.dataclass(frozen=True)
class TokenTile:
    """One tile as the pre-trained model sees it.

    Attributes:
      tile: its name.
      tokens: (P,D) float32.
      labels: (H,W) classes, or (K,) labels of the tile.
      attention: {series: {"weights" (T,h,w), "dates" (T,), "valid" (T,)}}.
    """

    tile: str
    tokens: np.ndarray
    labels: np.ndarray
    attention: dict[str, dict[str, np.ndarray]]


class Collector:
    """Keeps the first tiles that `tasks.probe.TokenReader.evaluate` returns, with all modalities."""

    def __init__(self, tile_ids: Sequence[str], limit: int = TILES):
        """tile_ids: in the order of `tile_index`; limit: how many tiles are kept."""
        self._tile_ids, self._limit = tile_ids, limit
        self.tiles: list[TokenTile] = []

    def __call__(self, result: Mapping[str, Any]) -> None:
        """Keeps tiles of a batch; the first subset of `result` is all modalities."""
        for index in map(int, np.flatnonzero(np.asarray(result["weight"]) > 0)[: self._limit - len(self.tiles)]):
            self.tiles.append(
                TokenTile(
                    tile=self._tile_ids[int(result["tile_index"][index])],
                    tokens=np.asarray(result["tokens"][0][index], np.float32),
                    labels=np.asarray(result["labels"][index]),
                    attention={name: {k: np.asarray(v[index]) for k, v in e.items()} for name, e in result["attention"].items()},
                )
            )

    def save(self, folder: StrPath, classes: Sequence[str], colours: Sequence[str], title: str) -> None:
        """Writes embedding.png and, for encoders that attend to dates, attention.png.

        Args:
          folder: to write to; it is created.
          classes: names of the K classes.
          colours: of the classes, see `pictures.class_colours`.
          title: of both figures.
        """
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        figures = {EMBEDDING: embedding_figure(self.tiles, len(classes), colours, title)}
        richest = max(self.tiles, key=lambda tile: len(parcels(tile.labels, len(classes))))
        if richest.attention:
            figures[ATTENTION] = attention_figure(richest, classes, colours, title)
        for name, figure in figures.items():
            save_figure(figure, folder / name, dpi=90)
            plt.close(figure)


def embedding_colours(tokens: np.ndarray) -> np.ndarray:
    """Maps tokens (N,P,D) to colors (N,P,3) in [0, 1]: their first three principal components over all tiles, stretched."""
    from sklearn.decomposition import PCA  # takes a second to import, and only pre-training draws embeddings

    n, p, d = tokens.shape
    rows = tokens.reshape(n * p, d)
    count = min(3, d, len(rows))
    filled = np.zeros((n * p, 3))
    filled[:, :count] = PCA(count, random_state=0).fit_transform(rows)
    return stretch(filled.reshape(n * p, 1, 3), each_band=True).reshape(n, p, 3)


def embedding_figure(tiles: Sequence[TokenTile], classes: int, colours: Sequence[str], title: str) -> Figure:
    """Draws the labels of tiles, which pre-training never saw, above their tokens as colors."""
    images = embedding_colours(np.stack([tile.tokens for tile in tiles]))
    side = round(images.shape[1] ** 0.5)
    dense = tiles[0].labels.ndim == 2
    columns = min(6, len(tiles))
    rows = -(-len(tiles) // columns) * (1 + dense)
    figure, grid = plt.subplots(rows, columns, figsize=(1.7 * columns, 1.75 * rows + 0.6), squeeze=False, layout="constrained")
    for axes in grid.flat:
        axes.axis("off")
    palette = class_colours(classes, colours)
    for index, (tile, image) in enumerate(zip(tiles, images)):
        row, column = divmod(index, columns)
        top = row * (1 + dense)
        if dense:
            grid[top, column].imshow(palette[np.minimum(tile.labels, classes)], interpolation="nearest")
        grid[top, column].set_title(tile.tile, fontsize=8)
        grid[top + dense, column].imshow(image.reshape(side, side, 3), interpolation="nearest")
    what = "labels above, tokens below: " if dense else "tokens: "
    figure.suptitle(f"{title}\n{what}their first three principal components as red, green and blue", fontsize=9)
    return figure


def parcels(labels: np.ndarray, classes: int) -> list[tuple[int, np.ndarray]]:
    """The largest connected region of each class but 0.

    Args:
      labels: (H,W) classes; tile labels (K,) have no regions.
      classes: number of classes, K.

    Returns:
      At most `PARCELS` pairs of class and (H,W) bool mask, the largest first.
    """
    from scipy import ndimage

    if labels.ndim != 2:
        return []
    found = []
    for value in np.unique(labels[(labels > 0) & (labels < classes)]):
        regions = np.zeros(labels.shape, np.int32)
        ndimage.label(labels == value, output=regions)
        sizes = np.bincount(regions.ravel())[1:]
        found.append((int(value), regions == 1 + sizes.argmax()))
    return sorted(found, key=lambda item: -item[1].sum())[:PARCELS]


def parcel_attention(weights: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The mean attention (T,) over a parcel: weights (T,h,w), mask (H,W) bool, or None for the whole tile."""
    if mask is None:
        return weights.mean((1, 2))
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return weights[:, rows * weights.shape[1] // height, columns * weights.shape[2] // width].mean(1)


def attention_figure(tile: TokenTile, classes: Sequence[str], colours: Sequence[str], title: str) -> Figure:
    """Draws the attention to each date of each series, for the largest parcels of a tile, or for a whole tile without dense labels.

    All series share one axis of dates, so that the same day is above itself.
    """
    palette = class_colours(len(classes), colours)
    regions = [(f"{classes[value]} ({int(mask.sum())} px)", palette[value], mask) for value, mask in parcels(tile.labels, len(classes))]
    regions = regions or [("whole tile", "black", None)]
    figure, grid = plt.subplots(
        len(tile.attention), 1, figsize=(9, 2.1 * len(tile.attention) + 0.8), sharex=True, squeeze=False, layout="constrained"
    )
    for axes, (name, entry) in zip(grid[:, 0], tile.attention.items()):
        valid = entry["valid"]
        order = np.argsort(entry["dates"][valid])
        for label, colour, mask in regions:
            weights = 100 * parcel_attention(entry["weights"], mask)[valid][order]
            axes.plot(entry["dates"][valid][order], weights, "o-", markersize=3, linewidth=1.2, label=label, color=colour)
        if valid.any():
            axes.axhline(100 / valid.sum(), color="grey", linewidth=0.8, linestyle=":")
        axes.set_ylabel(f"{name}: % of attention", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    grid[0, 0].legend(fontsize=8, frameon=False, ncols=len(regions), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    grid[-1, 0].set_xlabel("date (days since day 0 of the dataset); dotted line: equal attention to every date", fontsize=8)
    over = "over each parcel" if regions[0][2] is not None else "over the tile"
    figure.suptitle(f"{title}\ntile {tile.tile}: mean attention per date {over}", fontsize=9)
    return figure
