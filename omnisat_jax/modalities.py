"""What a sensor is. A new one is an entry in the configuration, not code."""

import dataclasses
from typing import Annotated

from omnisat_jax.config.rules import Choice, Pattern, Range

SERIES_ENCODERS = ("utae", "patch_ltae")
IMAGE_ENCODERS = ("vit", "resnet", "patch_cnn")
ENCODERS = {"series": SERIES_ENCODERS, "image": IMAGE_ENCODERS, "location": ("location",)}
# What stands beside the modalities in batches, records, views and their folders, in any case of its letters.
RESERVED = frozenset({"labels", "parcels", "tile_id", "tile_index", "weight", "remarks", "dataset", "fused", "tiles", "frames"})
LOCATION = "location"  # the name of the tile's centre in every dataset, and of nothing else
# Names become names of files, of settings and of parameters.
MODALITY_NAME = Pattern(
    f"(?i:(?!({'|'.join(sorted(RESERVED))})$))[A-Za-z][A-Za-z0-9_]{{0,63}}",
    f"a name of 1 to 64 letters, digits and _ that begins with a letter, none of {', '.join(sorted(RESERVED))}",
)
Dates = Annotated[int, Range(0, 10_000, "dates")]


@dataclasses.dataclass(frozen=True)
class ModalitySpec:
    """One sensor as the model sees it.

    Attributes:
      name: key in batches, parameters and reports.
      kind: "series" (T images with dates), "image" (one) or "location" (longitude and latitude of the tile's centre).
      channels: bands.
      resolution: metres a pixel.
      patch: pixels per token side; `patch * resolution` is the ground side of a token.
      encoder: which encoder turns it into tokens.
      dates_train: dates drawn a training step (series; 0 = the longest series of the data).
      dates_eval: evenly spaced dates in evaluation (series; 0 = all).
    """

    name: Annotated[str, MODALITY_NAME]
    kind: Annotated[str, Choice(tuple(ENCODERS))]
    channels: Annotated[int, Range(1, 1024, "bands")]
    resolution: Annotated[float, Range(0.001, 10_000, "metres a pixel")]
    patch: Annotated[int, Range(1, 1024, "pixels")]
    encoder: Annotated[str, Choice((*SERIES_ENCODERS, *IMAGE_ENCODERS, LOCATION))]
    dates_train: Dates
    dates_eval: Dates

    @property
    def ground(self) -> float:
        """Metres of ground under one side of a token."""
        return self.patch * self.resolution


def subsets(names):
    """Every non-empty subset of `names`, all of them first, single ones last; order of names kept."""
    members = [tuple(name for bit, name in enumerate(names) if mask >> bit & 1) for mask in range(1, 2 ** len(names))]
    return sorted(members, key=lambda subset: (-len(subset), [names.index(name) for name in subset]))
