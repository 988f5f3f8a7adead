"""The settings of a map. Defaults are here and nowhere else."""

import dataclasses
from collections.abc import Mapping

from omnisat_jax.dates import find_date
from omnisat_jax.errors import UserError
from omnisat_jax.rasters.offset import S2_OPTIONS

BATCH = 8  # windows that are predicted at once
BLOCK = 512  # label pixels per side of a block
OVERLAP = 0.25
LARGEST_WINDOW = 4096  # patches per side
CONVERSIONS = ("linear_to_db", "db_to_linear")
ON_BAD = ("raise", "mask")


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """How a map is made.

    Attributes:
      modalities: names of the sensors to use; () = all that are given.
      window: tokens per side of a window; 0 = as in training.
      overlap: share of a window that it has in common with the next one, from 0 to less than 1.
      block: label pixels per side of a block.
      batch: windows that are predicted at once.
      probabilities: whether the probabilities of all classes are stored.
      embeddings: whether the embeddings of all tokens are stored.
      on_bad: "raise" stops at a file that cannot be read, "mask" leaves out such files and lists them.
      crs: coordinate reference system of the map; "" = that of the first sensor whose meters are meters on the ground, or else the UTM zone.
      origin: day 0 of the dates, as `data.origin` of a configuration; "" = as in training.
      s2_offsets: sensor -> one of S2_OPTIONS, for Sentinel-2 files that do not declare whether their values have the offset.
      conversions: sensor -> one of CONVERSIONS or a factor.
      any_radiometry: whether values that are unlike those of the training tiles are used with a warning.
    """

    modalities: tuple[str, ...] = ()
    window: int = 0
    overlap: float = OVERLAP
    block: int = BLOCK
    batch: int = BATCH
    probabilities: bool = False
    embeddings: bool = False
    on_bad: str = ON_BAD[0]
    crs: str = ""
    origin: str = ""
    s2_offsets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    conversions: Mapping[str, str | float] = dataclasses.field(default_factory=dict)
    any_radiometry: bool = False

    def __post_init__(self) -> None:
        for name, number, lowest in (("window", self.window, 0), ("block", self.block, 1), ("batch", self.batch, 1)):
            if type(number) is not int or number < lowest:
                raise UserError(f"--{name}: expected a whole number of at least {lowest}, found {number!r}")
        if self.window > LARGEST_WINDOW:
            raise UserError(f"--window: expected at most {LARGEST_WINDOW:,} patches per side, found {self.window:,}")
        if not 0 <= self.overlap < 1:
            raise UserError(f"--overlap: expected a share from 0 to less than 1, found {self.overlap}")
        need_on_bad(self.on_bad)
        if self.origin not in ("", "season", "year") and find_date(self.origin.replace("-", "")) is None:
            raise UserError(f"--origin: expected a day YYYY-MM-DD, season or year, found {self.origin!r}")
        for name, word in self.s2_offsets.items():
            if word not in S2_OPTIONS:
                raise UserError(f"--s2_offset {name}: expected {', '.join(S2_OPTIONS)}, found {word!r}")
        for name, word in self.conversions.items():
            if word not in CONVERSIONS and not (isinstance(word, float | int) and 0 < abs(word) < 1e12):
                raise UserError(f"--convert {name}: expected {', '.join(CONVERSIONS)} or a factor other than 0, found {word!r}")

    def stride(self, window: int) -> int:
        """Tokens from one window to the next, at least 1."""
        return max(1, round(window * (1 - self.overlap)))


def need_on_bad(word: str) -> None:
    """Raises UserError if `word` is not one of ON_BAD."""
    if word not in ON_BAD:
        raise UserError(f"--on_bad: expected {' or '.join(ON_BAD)}, found {word!r}")
