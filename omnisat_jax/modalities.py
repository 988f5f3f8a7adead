"""A modality is one sensor's view of a tile, described by an entry in the configuration; a new sensor needs no code.

An entry describes four properties of a sensor: the kind of its data (a series of images with dates, one image, or the location of the tile), the
number of bands, the resolution in meters per pixel, and the number of pixels per token. All sensors of a model share one token grid, so
`patch * resolution`, the side of a token on the ground, must be the same for all. Units and value ranges are not described: values are
standardised band by band with the statistics of the training tiles.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Annotated

from omnisat_jax.config.registry import ENCODERS, KINDS
from omnisat_jax.config.rules import Choice, Pattern, Range
from omnisat_jax.errors import UserError, printable

# Names that batches, records, views and their folders use for other things, in any case of their letters.
RESERVED = frozenset({"labels", "parcels", "tile_id", "tile_index", "weight", "remarks", "dataset", "fused", "tiles", "frames"})
LOCATION = "location"  # the name of the tile's center in every dataset, and of nothing else
# Names are used in file names, configuration keys and parameter names.
MODALITY_NAME = Pattern(
    f"(?i:(?!({'|'.join(sorted(RESERVED))})$))[A-Za-z][A-Za-z0-9_]{{0,63}}",
    f"a name of 1 to 64 letters, digits and _ that begins with a letter, none of {', '.join(sorted(RESERVED))}",
)
# Names of sensors become names of folders, of configuration keys (--config.modalities.NAME) and of entries of records.
_SENSOR = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
Dates = Annotated[int, Range(0, 10_000, "dates")]


@dataclasses.dataclass(frozen=True)
class ModalitySpec:
    """One sensor as the model sees it.

    Attributes:
      name: key in batches, parameters and reports.
      kind: "series" (T images with dates), "image" (one image) or "location" (longitude and latitude of the tile's center).
      channels: number of bands.
      resolution: meters per pixel.
      patch: pixels per token side; `patch * resolution` is the ground side of a token.
      encoder: name of the encoder that turns it into tokens, see `config.registry.ENCODERS`.
      dates_train: dates drawn per training step (series; 0 = the longest series of the data).
      dates_eval: evenly spaced dates in evaluation (series; 0 = all).
    """

    name: Annotated[str, MODALITY_NAME]
    kind: Annotated[str, Choice(KINDS)]
    channels: Annotated[int, Range(1, 1024, "bands")]
    resolution: Annotated[float, Range(0.001, 10_000, "meters per pixel")]
    patch: Annotated[int, Range(1, 1024, "pixels")]
    encoder: Annotated[str, Choice(ENCODERS)]
    dates_train: Dates
    dates_eval: Dates

    @property
    def ground(self) -> float:
        """Meters of ground under one side of a token."""
        return self.patch * self.resolution


def richest_series(specs: Sequence[ModalitySpec]) -> ModalitySpec:
    """The series with the most bands, the first in model order among equals.

    Where one series has to be singled out, it is this one: beside radar, which has two or three bands, it is the multispectral series.
    """
    return max((spec for spec in specs if spec.kind == "series"), key=lambda spec: spec.channels)


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset of `names`, the full set first and single names last; the order of `names` is kept within each."""
    members = [tuple(name for bit, name in enumerate(names) if mask >> bit & 1) for mask in range(1, 2 ** len(names))]
    return sorted(members, key=lambda subset: (-len(subset), [names.index(name) for name in subset]))


def check_sensor_name(name: str) -> str:
    """Returns the name of a sensor, checked.

    Raises:
      UserError: characters other than letters, digits and _, or a reserved name.
    """
    reserved = RESERVED | {LOCATION}
    if not _SENSOR.fullmatch(name):
        raise UserError(f"expected a sensor's name of letters, digits and _ that begins with a letter, found {printable(repr(name))}")
    if name.lower() in reserved:
        raise UserError(f"expected another name than {', '.join(sorted(reserved))} for a sensor, found {name!r}: it is reserved")
    return name
