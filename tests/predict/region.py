"""A model that gives back what it sees, and rasters to map with it."""

import dataclasses
import types
from typing import Any

import numpy as np
from rasterio.transform import from_origin

from omnisat_jax.modalities import ModalitySpec
from tests.region import write

LEFT, TOP, CLASSES, WIDTH = 600_000, 5_700_000, 5, 6


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a model folder says about a sensor."""

    bands: tuple[str, ...]
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    first_day: int | None = None
    last_day: int | None = None
    dates: int = 0


def spec(name="s", kind="series", channels=1, resolution=10.0, patch=2, dates=0):
    encoder = {"series": "utae", "image": "resnet"}[kind]
    return ModalitySpec(name, kind, channels, resolution, patch, encoder, dates, dates)


class Identity:
    """Stands for a model: the class of a pixel is the number that its first sensor has there, on the first date that is known."""

    def __init__(self, *specs, window=4, bands=("a",), **more):
        self.modalities = specs or (spec(),)
        self.only_window = None
        self.window, self.label_patch = window, self.modalities[0].patch
        self.sensors = {entry.name: Facts(bands[: entry.channels]) for entry in self.modalities}
        self.classes, self.colours = tuple(f"class {index}" for index in range(CLASSES)), ()
        self.checksum, self.source, self.citation, self.task, self.simulated = "1" * 32, "here", "made up", "segment", True
        statistics = {entry.name: {"mean": [2.0] * entry.channels, "std": [2.0] * entry.channels} for entry in self.modalities}
        self.trained = types.SimpleNamespace(statistics=statistics, config=types.SimpleNamespace(data=types.SimpleNamespace(origin="year")))
        self.batches: list[dict[str, Any]] = []
        self.__dict__.update(more)

    def predict_batch(self, batch):
        self.batches.append(batch)
        values = batch[self.modalities[0].name]["values"]
        values = values if values.ndim == 4 else np.nan_to_num(values, nan=-1).max(1)
        found = np.nan_to_num(values[..., 0]).clip(0).round().astype(int)
        return np.eye(CLASSES, dtype=np.float32)[found % CLASSES]

    def embedding_width(self, window):
        return WIDTH

    def predict_and_embed(self, batch):
        """A token is the mean of the first sensor in its patch, the sum of the window, and more of these."""
        probabilities, (values, patch) = self.predict_batch(batch), (batch[self.modalities[0].name]["values"], self.modalities[0].patch)
        values = np.nan_to_num(values if values.ndim == 4 else values.max(1))[..., 0]
        count, side = values.shape[0], values.shape[1] // patch
        means = values.reshape(count, side, patch, side, patch).mean((2, 4)).reshape(count, -1)
        total = np.broadcast_to(values.sum((1, 2))[:, None], means.shape)
        return probabilities, np.stack([np.sin(means * n + total * 0.01 * n) for n in range(WIDTH)], -1).astype(np.float32)


def scene(height=24, width=40, seed=0):
    """Classes (H,W), in patches."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, CLASSES, (-(-height // 3), -(-width // 3))).repeat(3, 0).repeat(3, 1)[:height, :width]


def put(path, values, pixel=10.0, left=LEFT, top=TOP, **more):
    """Writes (H,W) or (C,H,W) as a GeoTIFF whose bands are a, b, c."""
    values = values[None] if values.ndim == 2 else values
    more.setdefault("descriptions", tuple("abcdefghijklm"[: len(values)]))
    return write(path, values, transform=from_origin(left, top, pixel, pixel), **({"crs": "EPSG:32631"} | more))
