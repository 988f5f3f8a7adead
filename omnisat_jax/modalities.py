"""What a sensor is. A new one is an entry in the configuration, not code."""

import dataclasses

from omnisat_jax.errors import UserError

SERIES_ENCODERS = ("utae", "patch_ltae")
IMAGE_ENCODERS = ("vit", "resnet", "patch_cnn")
ENCODERS = {"series": SERIES_ENCODERS, "image": IMAGE_ENCODERS, "location": ("location",)}


@dataclasses.dataclass(frozen=True)
class ModalitySpec:
    """One sensor as the model sees it.

    Attributes:
      name: key in batches, parameters and reports.
      kind: "series" (T images with dates), "image" (one) or "location" (longitude and latitude of the tile's centre).
      channels: bands.
      resolution: metres a pixel.
      patch: pixels a token side; `patch * resolution` is the ground side of a token.
      encoder: which encoder turns it into tokens.
      dates_train: dates drawn a training step (series; 0 = the longest series of the data).
      dates_eval: evenly spaced dates in evaluation (series; 0 = all).
    """

    name: str
    kind: str
    channels: int
    resolution: float
    patch: int
    encoder: str
    dates_train: int
    dates_eval: int

    def __post_init__(self):
        where = f"modalities.{self.name}"
        if self.kind not in ENCODERS:
            raise UserError(f"{where}.kind must be one of {', '.join(ENCODERS)}, found {self.kind!r}")
        encoders = ENCODERS[self.kind]
        if self.encoder not in encoders:
            raise UserError(f"{where}.encoder of a {self.kind} must be one of {', '.join(encoders)}, found {self.encoder!r}")
        for key in ("channels", "resolution", "patch"):
            if getattr(self, key) <= 0:
                raise UserError(f"{where}.{key} must be positive, found {getattr(self, key)}")
        for key in ("dates_train", "dates_eval"):
            if getattr(self, key) < 0:
                raise UserError(f"{where}.{key} must be 0 (all) or positive, found {getattr(self, key)}")

    @property
    def ground(self) -> float:
        """Metres of ground under one side of a token."""
        return self.patch * self.resolution


def subsets(names):
    """Every non-empty subset of `names`, all of them first, single ones last; order of names kept."""
    members = [tuple(name for bit, name in enumerate(names) if mask >> bit & 1) for mask in range(1, 2 ** len(names))]
    return sorted(members, key=lambda subset: (-len(subset), [names.index(name) for name in subset]))
