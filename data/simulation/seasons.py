"""What stands on one parcel from September to November of the next year, and everything random about it.

A year of an arable parcel is a sequence of stands: the previous crop, something green or nothing in between, the crop of this year, and
again something green or nothing. **The previous crop and what follows it are drawn without looking at this year's crop**, so a parcel
in early September says nothing about its class, as with a real rotation; `tests/data/test_simulation.py` checks it. The one exception is
nature's: perennial crops look like themselves in every season. Letters: T dates.
"""

import dataclasses

import numpy as np

from data.simulation import crops, spectra
from data.simulation.crops import Crop

YEAR = 365
SOWING = 10  # days from sowing to emergence
VISIBLE = 5  # days before half of the plants have emerged when the first can be seen
FREE = 15  # day until which nothing about a parcel depends on the annual crop that will be sown
CATCH_CROP = 0.5  # probability of a catch crop between two crops (assumed); otherwise weeds and volunteers
WEEDS = 0.16  # their leaf area, relative to that of a catch crop (assumed)
# Standard deviations between parcels. Leaves: 5 to 10 %, assumed. Radar: soil roughness and the orbits in dB, structure in log units, assumed.
LEAVES, VIGOUR, SOIL = 0.06, 0.16, 0.10
ROUGHNESS, STRUCTURE, ORBIT = 1.0, 0.22, 0.7
ROW_STRUCTURE = 0.55  # of vines and orchards: rows face the radar or not, and have posts and wires or not (assumed)
ANNUAL = tuple(number for number, crop in crops.CROPS.items() if crop.kind in ("winter", "spring"))


@dataclasses.dataclass(frozen=True)
class Stand:
    """One crop in one season.

    Attributes:
      crop: its behavior.
      emerge, rise, fall: days; of appearance, of half of the spring growth, of half of the senescence.
      floor, peak: leaf area index before spring growth, and its maximum.
      end: day of harvest or destruction.
      bloom: day of full flowering; 0 = not visible.
      structure: factor on its radar volume.
    """

    crop: Crop
    emerge: float
    rise: float
    fall: float
    floor: float
    peak: float
    end: float
    bloom: float = 0.0
    structure: float = 1.0

    def leaf_area(self, day: np.ndarray) -> np.ndarray:
        """Green leaf area index (T,) on days (T,)."""
        half = self.crop.speed / 2
        grown = self.floor * logistic(day, self.emerge, 4) + (self.peak - self.floor) * logistic(day, self.rise, half)
        return grown * (1 - logistic(day, self.fall, half)) * ((day > self.emerge - VISIBLE) & (day < self.end))

    def ripe(self, day: np.ndarray) -> np.ndarray:
        """Share of the ground under ripe straw (T,), and under stubble for some weeks after harvest."""
        if not self.crop.straw:
            return np.zeros(len(day))
        standing = 0.8 * logistic(day, self.fall, self.crop.speed / 2) * (day < self.end)
        return standing + 0.4 * np.exp(-np.maximum(day - self.end, 0) / 12) * (day >= self.end)

    def flowers(self, day: np.ndarray) -> np.ndarray:
        """Flower cover (T,)."""
        return 0.7 * np.exp(-0.5 * ((day - self.bloom) / 9) ** 2) if self.bloom else np.zeros(len(day))

    def ears(self, day: np.ndarray) -> np.ndarray:
        """How far heading has gone (T,): about eight weeks after spring growth."""
        return logistic(day, self.rise + 52, 5)


@dataclasses.dataclass(frozen=True)
class Season:
    """One parcel: everything random about it, drawn once and seen by every sensor.

    Attributes:
      cover: name of the land cover.
      crop: its behavior.
      stands: what grows, in order.
      floor: leaf area index that is always there (perennials).
      cuts: (day, share of the leaves that is cut).
      drought: share of grass that is dry at the height of summer.
      leaf: (10,) factor on the spectrum of leaves.
      soil: (10,) reflectance of the dry soil.
      wet: how strongly the soil follows moisture.
      tillage: (day, roughness in dB from this day on), in order.
      orbits: offsets of the ascending and the descending orbit, dB.
      structure: factor on the radar volume of `floor`.
    """

    cover: str
    crop: Crop
    stands: tuple[Stand, ...]
    floor: float
    cuts: tuple[tuple[float, float], ...]
    drought: float
    leaf: np.ndarray
    soil: np.ndarray
    wet: float
    tillage: tuple[tuple[float, float], ...]
    orbits: tuple[float, float]
    structure: float

    def uncut(self, day: np.ndarray) -> np.ndarray:
        """Share of the leaf area that mowing and grazing have left (T,)."""
        left = np.ones(len(day))
        for cut, depth in self.cuts:
            since = day - cut
            left *= np.where(since > 0, 1 - depth * np.exp(-np.maximum(since, 0) / 20), 1)
        return left

    def leaf_area(self, day: np.ndarray) -> np.ndarray:
        """Green leaf area index (T,) on days (T,)."""
        day = np.asarray(day, float)
        return (self.floor + sum((stand.leaf_area(day) for stand in self.stands), np.zeros(len(day)))) * self.uncut(day)

    def dry_grass(self, day: np.ndarray) -> np.ndarray:
        """Share of dry grass (T,), highest in late July and August."""
        last, this = (np.exp(-0.5 * ((np.asarray(day) - at) / 38) ** 2) for at in (335 - YEAR, 335))
        return self.drought * (last + this)

    def roughness(self, day: np.ndarray) -> np.ndarray:
        """Roughness of the soil (T,), dB above the mean soil."""
        days, levels = zip(*self.tillage)
        return np.asarray(levels)[np.maximum(np.searchsorted(days, day, side="right") - 1, 0)]


@dataclasses.dataclass(frozen=True)
class Place:
    """What all parcels of a region share.

    Attributes:
      shift: of the season, days.
      soils: (3,) share of each soil of `spectra.SOILS`.
      drought: mean of `Season.drought` of meadows.
    """

    shift: float
    soils: np.ndarray
    drought: float


def draw_place(rng: np.random.Generator) -> Place:
    """Draws a region."""
    return Place(float(rng.uniform(-9, 9)), rng.dirichlet([0.8, 1.6, 0.8]), float(rng.uniform(0.30, 0.60)))


def draw_season(rng: np.random.Generator, cover: str, place: Place) -> Season:
    """Draws the season of one parcel.

    Args:
      rng: of the tile.
      cover: name of the land cover.
      place: its region.
    """
    crop = crops.crop_of(cover)
    before, green = _previous(rng, place), np.where(rng.random(2) < CATCH_CROP, 1.0, WEEDS)
    floor, structure, sown, harvested = 0.0, 1.0, -300.0, 900.0
    if crop.kind in ("winter", "spring"):
        main = _main(rng, crop, place)
        sown, harvested = main.emerge - SOWING, main.end
        stands = _rotation(rng, before, main, green, sown)
    elif crop.kind == "cycles":
        stands = _cycles(rng, crop)
    elif crop.kind == "perennial":
        floor, structure, stands = _perennial(rng, crop, place)
    else:
        stands = ()
    soil = spectra.SOILS[rng.choice(len(spectra.SOILS), p=place.soils)] * np.exp(rng.normal(0, SOIL))
    grassy = crop.kind == "perennial" and cover not in crops.WOODY
    rough = rng.normal(0, ROUGHNESS, 3)
    return Season(
        cover, crop, stands, floor, _cuts(rng, crop),
        drought=float(np.clip(rng.normal(place.drought, 0.12), 0, 0.9)) if grassy else 0.0,
        leaf=np.exp(rng.normal(0, LEAVES, 3))[spectra.LEAF_GROUPS],
        soil=soil,
        wet=float(rng.uniform(0.6, 1.4)),
        tillage=((-400.0, float(rough[0])), (sown, float(rough[1])), (harvested, float(rough[2]))),
        orbits=tuple(rng.normal(0, ORBIT, 2).tolist()),
        structure=structure,
    )  # fmt: skip


def logistic(day: np.ndarray, at: float, width: float) -> np.ndarray:
    """A rise from 0 to 1 around the day `at`."""
    return 1 / (1 + np.exp(-np.clip((day - at) / width, -40, 40)))


def _main(rng: np.random.Generator, crop: Crop, place: Place) -> Stand:
    """The crop of this year."""
    shift = place.shift + rng.normal(0, crop.spread)
    fall = crop.fall + shift + rng.normal(0, 3)
    if crop.kind == "winter":  # autumn sowing follows the weather of autumn, not the spring to come
        emerge = max(crop.emerge + rng.normal(0, 8), FREE + SOWING + 1)
    else:
        emerge = crop.rise + shift - 28
    return Stand(
        crop, emerge, crop.rise + shift, fall,
        floor=crop.floor * float(np.exp(rng.normal(0, 0.40))),
        peak=crop.peak * float(np.exp(rng.normal(0, VIGOUR))),
        end=fall + crop.harvest + rng.exponential(5),
        bloom=crop.bloom + shift + rng.normal(0, 3) if crop.bloom else 0.0,
        structure=float(np.exp(rng.normal(0, STRUCTURE))),
    )  # fmt: skip


def _previous(rng: np.random.Generator, place: Place) -> Stand:
    """The crop of last year, drawn from the general shares of annual crops whatever grows this year."""
    shares = np.array([crops.MIX[number - 1] for number in ANNUAL])
    stand = _main(rng, crops.CROPS[int(rng.choice(ANNUAL, p=shares / shares.sum()))], place)
    return dataclasses.replace(
        stand, emerge=stand.emerge - YEAR, rise=stand.rise - YEAR, fall=stand.fall - YEAR, end=stand.end - YEAR, bloom=0.0
    )


def _rotation(rng: np.random.Generator, before: Stand, main: Stand, green: np.ndarray, sown: float) -> tuple[Stand, ...]:
    """Last year's crop, what is green after it, this year's crop, and what is green after that.

    Args:
      rng: of the tile.
      before, main: last year's crop and this year's.
      green: (2,) size of what grows after each of them, relative to a catch crop.
      sown: day when this year's crop is sown.
    """
    cleared = sown - rng.uniform(3, 12)
    before = dataclasses.replace(before, end=min(before.end, max(cleared, FREE)))
    start = max(before.end + rng.uniform(5, 20), rng.normal(2, 12))
    # In fields that are sown in spring, it stands until frost, ploughing or the preparation of the seedbed.
    end = max(cleared if main.crop.kind == "winter" else rng.uniform(120, max(cleared, 125)), FREE)
    after = main.end + rng.uniform(20, 45)
    return before, _catch(rng, start, end, green[0]), main, _catch(rng, after, 900.0, green[1])


def _catch(rng: np.random.Generator, start: float, end: float, size: float) -> Stand:
    """A catch crop or weeds that appear on `start`; what appears late stays small."""
    late = np.clip((60 - (start if start < 200 else start - YEAR)) / 45, 0.15, 1)
    peak = crops.CATCH.peak * size * float(np.exp(rng.normal(0, 0.35)) * late)
    structure = float(np.exp(rng.normal(0, STRUCTURE)))
    return Stand(crops.CATCH, start, start + 24, 2000.0, min(0.1, peak), peak, end, structure=structure)


def _cycles(rng: np.random.Generator, crop: Crop) -> tuple[Stand, ...]:
    """Vegetables: one to three cycles of 60 to 110 days, and perhaps one from last year."""
    stands, start = [], rng.uniform(-60, 40)
    while start < 440:
        length, peak = rng.uniform(60, 110), crop.peak * float(np.exp(rng.normal(0, 0.35)))
        structure = float(np.exp(rng.normal(0, 1.5 * STRUCTURE)))
        if not 60 < start < 165:  # nothing is planted in winter
            stands.append(Stand(crop, start, start + 22, 2000.0, crop.floor, peak, start + length, structure=structure))
        start += length + rng.uniform(10, 120)
    return tuple(stands)


def _perennial(rng: np.random.Generator, crop: Crop, place: Place) -> tuple[float, float, tuple[Stand, ...]]:
    """Constant leaf area, its structure, and the growth above it in last and this year."""
    rows = crop.texture in ("vines", "crowns")  # with grass or bare soil between them
    floor = crop.floor * float(np.exp(rng.normal(0, 0.85 if rows else 0.25)))
    peak = max(crop.peak * float(np.exp(rng.normal(0, 0.55 if rows else 0.25))) - floor, 0.1)
    shift = place.shift + rng.normal(0, crop.spread)
    structure = float(np.exp(rng.normal(0, ROW_STRUCTURE if rows else STRUCTURE)))
    years = [
        Stand(crop, -900.0, crop.rise + shift + year, crop.fall + shift + year, 0.0, peak, 2000.0, structure=structure)
        for year in (-YEAR, 0)
    ]
    return floor, structure, tuple(years)


def _cuts(rng: np.random.Generator, crop: Crop) -> tuple[tuple[float, float], ...]:
    """Mowing of this year and of the end of last season; one in three is grazing, which takes less."""
    if not crop.mowing:
        return ()
    days = np.sort(np.concatenate([rng.uniform(235, 395, rng.poisson(crop.mowing)), rng.uniform(-60, 30, rng.poisson(0.5 * crop.mowing))]))
    return tuple((float(day), float(rng.choice([0.75, 0.75, 0.4]))) for day in days)
