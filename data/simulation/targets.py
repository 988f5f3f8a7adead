"""What the simulated world must look like, written down before the simulation was fitted to it.

Fitted were only the parameters of this room, only to these ranges, and only with fixed classifiers on parcel means
(`benchmarks/simulation_limits.py`) and counts of raw values (`benchmarks/simulation_statistics.py`). No network of this
project, no pre-training and no modality dropout took part, so that their results say something about them and not about the fit.

Sources of the ranges:

- PASTIS-R: nine tiles of real PASTIS-R at 40 m (CC BY 4.0), three dates each, from September and October.
- Flanders: eight real tiles of 32 px in PASTIS layout (WorldCereal test data, MIT license), measured with `simulation_statistics`.
- U-TAE: mIoU of U-TAE on PASTIS-R as published (Garnot et al. 2021, 2022): 63.1 for S2, 65.9 and 66.3 for S2 with both orbits of S1.
- fold 1: IoU of a network on S2 on fold 1 of real PASTIS: wheat 72, durum 43, triticale 25, vine 36, orchard 15, corn 77, sorghum 13.
- assumed: no measurement; a judgment.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Target:
    """A range that a quantity of the simulated world must lie in.

    Attributes:
      low, high: the range.
      source: where it comes from.
    """

    low: float
    high: float
    source: str

    def holds(self, value: float) -> bool:
        """Whether a value lies in the range; NaN does not."""
        return self.low <= value <= self.high


# Near-Bayes limits: mIoU in % over the 18 crops, one vote per parcel, of a fixed classifier on parcel means with known borders.
# The limit of a sensor may be above what a network reaches; their ratios are compared with those of networks on thousands of tiles.
LIMITS = {
    "S2": Target(58, 75, "assumed: somewhat above what a network reaches on the whole of PASTIS, 63"),
    "S1A / S2": Target(0.80, 0.87, "PASTIS-R: networks on one orbit and on S2"),
    "S1A+S1D+S2 - S2": Target(1.5, 5.0, "U-TAE: +2.8 and +3.2"),
    "SPOT / S2": Target(0.40, 0.60, "PASTIS-HD: about a half"),
}
# Pairs of crops of which S2 alone must recognize the first better.
CLASS_ORDER = (
    ("soft winter wheat", "winter durum wheat", "fold 1"),
    ("winter durum wheat", "winter triticale", "fold 1"),
    ("soft winter wheat", "mixed cereal", "assumed: rare and like the other cereals"),
    ("corn", "sorghum", "fold 1"),
    ("grapevine", "orchard", "fold 1"),
    ("corn", "grapevine", "fold 1"),
    ("winter rapeseed", "winter barley", "assumed: the only yellow bloom of spring"),
)

# Months are 30 days from 1 September of the first year; a swing is the range of the monthly means of a crop.
STATISTICS = {
    "S2 dates more than 5 % cloudy": Target(0.25, 0.38, "PASTIS-R 0.33, Flanders 0.30"),
    "S2 cloudy pixels": Target(0.14, 0.19, "PASTIS-R 0.16, Flanders 0.17"),
    "S1A VV mean, dB": Target(-12.5, -9.0, "PASTIS-R -12.2, Flanders -9.1"),
    "S1A VH mean, dB": Target(-19.5, -17.0, "PASTIS-R -18.5, Flanders -17.1"),
    "VV swing of soft winter wheat, dB": Target(6.0, 9.5, "Flanders 9.1"),
    "VH swing of soft winter wheat, dB": Target(4.0, 6.5, "Flanders 5.6"),
    "VV swing of corn, dB": Target(2.0, 5.0, "Flanders 4.0"),
    "VH swing of corn, dB": Target(3.0, 5.5, "Flanders 4.5"),
    "VV swing of meadow, dB": Target(1.5, 4.0, "Flanders 2.2"),
    "VH swing of meadow, dB": Target(1.0, 4.0, "Flanders 1.9"),
    "NDVI of soft winter wheat, peak month": Target(0.80, 0.90, "Flanders 0.84 to 0.88"),
    "NDVI of soft winter wheat, after harvest (August)": Target(0.18, 0.32, "Flanders 0.23"),
    "NDVI of soft winter wheat, winter (December to February)": Target(0.36, 0.60, "Flanders 0.40 to 0.54"),
    "NDVI of corn, winter (December to February)": Target(0.45, 0.82, "Flanders 0.68 to 0.79; fewer catch crops assumed for France"),
    "NDVI of corn, peak month": Target(0.74, 0.90, "Flanders 0.76"),
    "NDVI of meadow, winter (December to February)": Target(0.70, 0.88, "Flanders 0.82"),
    "NDVI of meadow, August": Target(0.50, 0.66, "Flanders 0.56"),
    "NDVI spread between wheat parcels, September and October": Target(0.10, 0.28, "Flanders 0.10 to 0.23"),
    "parcel, median area, ha": Target(1.5, 2.0, "about what PASTIS has: 124,422 parcels on 2,433 tiles of 164 ha"),
}
