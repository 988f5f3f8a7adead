"""Are the numbers of a region those that the model was trained with? Recognizes the usual mistakes and names the option that mends them.

Letters: C bands.
"""

import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.predict.sensors import Sensor
from omnisat_jax.predict.survey import LOW, Survey
from omnisat_jax.rasters.band_order import exchange_text, exchanged
from omnisat_jax.rasters.offset import BASELINE_OFFSET
from omnisat_jax.words import number_of

REFUSED, DOUBTFUL = 4.0, 2.0  # standard deviations of the training tiles by which the mean of a band may differ
RARE = 0.01  # share of values that counts as hardly any
NEAR = 400  # of a difference to BASELINE_OFFSET
FACTORS = (1e-4, 1e-3, 1e-2, 0.1, 10, 1e2, 1e3, 1e4)
CLOSE, FAR = 1.6, 5.0  # ratio of two means that counts as equal, and from which units cannot be equal
ANYWAY = "or use the values as they are with --any_radiometry"


def check_radiometry(sensor: Sensor, found: Survey, mean: np.ndarray, std: np.ndarray) -> list[str]:
    """Compares a sensor with the training tiles of the model.

    Args:
      sensor: the measurements.
      found: the statistics of the region.
      mean, std: (C,) of the training tiles.

    Returns:
      Doubts, in words.

    Raises:
      UserError: values in another unit, or unlike all that the model was trained with.
    """
    name, bands = sensor.name, sensor.bands
    unknown = [band for band, mean_of_band in zip(bands, found.mean, strict=True) if not np.isfinite(mean_of_band)]
    if unknown:  # a sensor without any known value is another remark
        return [] if len(unknown) == len(bands) else [f"{name}: no known value of {', '.join(unknown)}, so that the unit and order of its bands are not checked"]
    mistake = _unit(name, found, mean) or _offset(name, found, mean, std) or _factor(name, found, mean) or _order(sensor, found, mean, std)
    away = np.abs(found.mean - mean) / std
    worst = int(away.argmax())
    values = f"a mean of {found.mean[worst]:.4g} in band {bands[worst]}, {away[worst]:.1f} standard deviations away"
    expected = f"{name}: expected values like those of the training tiles (mean {mean[worst]:.4g}, standard deviation {std[worst]:.4g}), found {values}"
    if mistake:
        raise UserError(f"{expected}: {mistake}, {ANYWAY}")
    if away[worst] > REFUSED:
        raise UserError(f"{expected}; convert them with --convert {name}=FACTOR, {ANYWAY}")
    doubts = [f"{expected}"] if away[worst] > DOUBTFUL else []
    return doubts + _check_dates(sensor, found, mean, std)


def _check_dates(sensor: Sensor, found: Survey, mean: np.ndarray, std: np.ndarray) -> list[str]:
    """Some dates may have another unit, which the mean of all dates hides."""
    doubts, shifted = [], []
    for position, frame in enumerate(sensor.frames if sensor.spec.kind == "series" else ()):
        date = found.of_date(position)
        if not np.isfinite(date.mean).all():
            continue
        mistake = _unit(sensor.name, date, mean) or _factor(sensor.name, date, mean)
        if mistake:
            raise UserError(
                f"{sensor.name}: expected values of {frame.date} in the unit of the other dates, found others: {mistake.partition(';')[0]}; convert the files "
                f"of such dates, {ANYWAY}"
            )
        away = np.abs(date.mean - mean) / std
        if (away > REFUSED).all():
            raise UserError(
                f"{sensor.name}: expected values of {frame.date} like those of the training tiles, found means that are {away.min():.1f} or more standard "
                f"deviations away in every band; correct or leave out the files of such dates, {ANYWAY}"
            )
        mistake = _order(sensor, date, mean, std)
        if mistake:
            raise UserError(f"{sensor.name}: expected the bands of {frame.date} in the order of their names, found another: {mistake}, {ANYWAY}")
        # Clouds brighten all bands too, but not all alike.
        if _offset(sensor.name, date, mean, std) and np.ptp(date.mean - mean) < NEAR:
            shifted.append(frame.date)
    if shifted:
        doubts.append(
            f"{sensor.name}: the values of all bands are about {BASELINE_OFFSET:,} away from those of training on {len(shifted)} of {number_of(len(sensor.frames), 'date')}, such "
            f"as {shifted[0]}: check whether these have the offset of Sentinel-2 products of baseline 04.00 and later (--s2_offset {sensor.name}=from_2022)"
        )
    zero = [frame.date if frame.day else "the image" for frame, share in zip(sensor.frames, found.zero) if share > RARE]
    if zero and sensor.spec.channels > 1:
        doubts.append(
            f"{sensor.name}: more than {100 * RARE:.0f} % of the known pixels are 0 in all bands on {len(zero)} of {number_of(len(sensor.frames), 'date')}, such as {zero[0]}; "
            "if 0 stands for no data, declare it in the files (gdal_edit.py -a_nodata 0)"
        )
    return doubts


def _order(sensor: Sensor, found: Survey, mean: np.ndarray, std: np.ndarray) -> str:
    order = exchanged(sensor.bands, found.mean, mean, std)
    if not order:
        return ""
    return (
        f"{exchange_text(sensor.bands, order)}; correct them where they come from: in the descriptions of the files (rasterio: dataset.descriptions), which "
        f"count before names in the command, in the STAC items or in the cube; files without descriptions: {sensor.name}=PATH:BAND,BAND"
    )


def _unit(name: str, found: Survey, mean: np.ndarray) -> str:
    """Decibels of radar are negative, linear power is not. A ratio of polarizations may be positive in both."""
    decibels = mean < 0
    if 2 * decibels.sum() > len(mean) and (found.negative[decibels] < RARE).all():
        return f"the model was trained with decibels, and these values look like linear power; convert them with --convert {name}=linear_to_db"
    if (mean > 0).all() and (mean < 10).all() and 2 * (found.negative > 1 - RARE).sum() > len(mean):
        return f"the model was trained with linear power, and these values look like decibels; convert them with --convert {name}=db_to_linear"
    return ""


def _offset(name: str, found: Survey, mean: np.ndarray, std: np.ndarray) -> str:
    """The offset of 1,000 in Sentinel-2 values since baseline 04.00 moves all bands alike."""
    away = found.mean - mean
    if len(mean) < 3 or not (mean > 0).all() or mean.max() < LOW:
        return ""
    lowest = mean - 2 * std < LOW  # bands in which training values are often below LOW
    if abs(np.median(away) - BASELINE_OFFSET) < NEAR and (away > 0).all() and lowest.any() and (found.low[lowest] < RARE).all():
        return (
            f"the values of all bands are about {BASELINE_OFFSET:,} higher, the offset of Sentinel-2 products of baseline 04.00 and later "
            f"(BOA_ADD_OFFSET); subtract it with --s2_offset {name}=subtract"
        )
    if abs(np.median(away) + BASELINE_OFFSET) < NEAR and (away < 0).all() and found.negative.max() > RARE:
        return (
            f"the values of all bands are about {BASELINE_OFFSET:,} lower, as if the offset of Sentinel-2 products had been subtracted from values "
            f"without it; leave it with --s2_offset {name}=none"
        )
    return ""


def _factor(name: str, found: Survey, mean: np.ndarray) -> str:
    """Reflectance from 0 to 1 against reflectance x 10,000, and the like."""
    if not ((mean > 0).all() and (found.mean > 0).all()):
        return ""
    ratio = np.log(mean / found.mean)
    if not (np.abs(ratio) > np.log(FAR)).all() or np.ptp(np.sign(ratio)):
        return ""
    factor = next((factor for factor in FACTORS if (np.abs(ratio - np.log(factor)) < np.log(CLOSE)).all()), None)
    if factor is None:
        return f"they look like another unit, {np.exp(np.median(np.abs(ratio))):.3g} times {'smaller' if ratio[0] > 0 else 'larger'}; multiply them with --convert {name}=FACTOR"
    times = f"{1 / factor:,.6g} times larger" if factor < 1 else f"{factor:,.6g} times smaller"
    return f"they look {times}; multiply them with --convert {name}={factor:g}"
