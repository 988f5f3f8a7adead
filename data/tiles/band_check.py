"""Do the bands of a sensor hold what their names say? What `predict` asks of a region is asked before its tiles are trained on.

Letters: C bands, H W pixels.
"""

import numpy as np

from data.tiles.values import Storage
from omnisat_jax.rasters.band_order import exchange_text, exchanged, exchanged_polarisations
from omnisat_jax.rasters.grid import RasterError


class BandCheck:
    """Adds up the values of each band of each file, and compares dates with each other and polarizations of radar."""

    def __init__(self, storage: Storage):
        """No pixel yet.

        Args:
          storage: of the sensor.
        """
        self._source, self._scale = storage.source, np.array(storage.scale)
        shape = (len(storage.source.layers), len(storage.source.bands))
        self._count, self._sum, self._squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def add(self, position: int, stored: np.ndarray, known: np.ndarray) -> None:
        """Adds the pixels of one file.

        Args:
          position: of the file among the layers.
          stored: (C,H,W) as `Storage.store` returns them.
          known: (C,H,W) bool.
        """
        values = np.where(known, stored, 0) * self._scale[:, None, None]
        self._count[position] += known.sum((1, 2))
        self._sum[position] += values.sum((1, 2))
        self._squares[position] += (values**2).sum((1, 2))

    def finish(self) -> None:
        """Checks what was added.

        Raises:
          RasterError: bands of all files or of one date seem to be exchanged.
        """
        source, dates = self._source, range(len(self._source.layers))
        if order := self._polarisations(slice(None)):
            raise self._error(f"{source.layers[0].path}", f"the bands of {source.name} in the order of their names", order)
        for position in dates if len(dates) > 1 else ():
            others = [other for other in dates if other != position]
            order = self._polarisations([position])
            (found, _), (mean, std) = self._moments([position]), self._moments(others)
            if not order and np.isfinite(found).all() and np.isfinite(mean).all() and (std > 0).all():
                order = exchanged(source.bands, found, mean, std)
            if order:
                raise self._error(source.layers[position].text, "its bands in the order of their names, as on the other dates", order)

    def _polarisations(self, layers):
        mean, std = self._moments(layers)
        return exchanged_polarisations(self._source.bands, mean, std) if np.isfinite(mean).all() else None

    def _moments(self, layers) -> tuple[np.ndarray, np.ndarray]:
        """(C,) mean and standard deviation of some files; nan of a band without a known pixel."""
        count, total, squares = (sums[layers].sum(0) for sums in (self._count, self._sum, self._squares))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / count
            return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))

    def _error(self, where, expected, order):
        return RasterError(
            f"{where}: expected {expected}, found another: {exchange_text(self._source.bands, order)}; correct the descriptions of the files (rasterio: "
            f"dataset.descriptions), or the names in the command where files have none, or cut the bands as they are with --any_radiometry"
        )
