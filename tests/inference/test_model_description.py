"""Whatever is wrong in the files of a model folder is named, even under matching checksums."""

import math
import tracemalloc

import numpy as np
import pytest

from omnisat_jax.inference.model_folder import CONFIG, FORMAT, STATISTICS, ModelError, load_model
from tests.inference.folders import (
    BANDS,
    CHANNELS,
    KERNEL,
    changing_weights,
    configured_with,
    deep,
    described_with,
    put,
    put_nan,
    set_kernel,
    text_of,
    with_part,
    with_sensor,
    with_statistics,
)

pytestmark = pytest.mark.usefixtures("traced_once")


WRONG = {
    "config a list": (text_of(CONFIG, b"[]"), "an object"),
    "config too deep": (text_of(CONFIG, deep(100_000)), "nested too deeply"),
    "key twice": (text_of(CONFIG, b'{"classes": [], "classes": []}'), "more than once"),
    "surrogates": (described_with(classes=["a", "\ud800"]), "printable"),
    "control characters": (described_with(classes=["a", "b\x1b[31m"]), "printable"),
    "a class of two lines": (described_with(classes=["a", "b\nc"]), "printable"),
    "classes a text": (described_with(classes="ab"), "a list"),
    "classes twice": (described_with(classes=["a", "a"]), "more than once"),
    "no classes": (described_with(classes=[]), "names of classes"),
    "too many classes": (described_with(classes=[str(i) for i in range(10**5)]), "at most 1000"),
    "another class": (described_with(classes=["a", "b", "c"]), r"expected \(3,\), found \(2,\)"),
    "sensors twice": (described_with(modalities=["s2", "s2"]), "more than once"),
    "no sensors": (described_with(modalities=[]), "sensors among"),
    "unknown sensor": (described_with(modalities=["s3"]), "sensors among"),
    "another sensor": (described_with(modalities=["spot"]), "the modalities spot, found s2"),
    "sensor a path": (described_with(modalities=["../x"]), "letters, digits"),
    "label_patch a text": (described_with(label_patch="4"), "a whole number from 1 to 4096"),
    "label_patch 0": (described_with(label_patch=0), "a whole number from 1 to 4096"),
    "label_patch huge": (described_with(label_patch=10**400), "a whole number from 1 to 4096"),
    "label_patch true": (described_with(label_patch=True), "a whole number from 1 to 4096"),
    "a format of the future": (described_with(format=FORMAT + 1, version="9.1"), f"format {FORMAT + 1}; install omnisat-jax 9.1 or later"),
    "a format of the future with other keys": (text_of(CONFIG, b'{"format": 7, "version": "9.2"}'), "config.json: .*omnisat-jax 9.2 or later"),
    "a format of the past": (described_with(format=FORMAT - 1), "the keys"),
    "a format before all": (described_with(format=1), f"a whole number from 2 to {FORMAT}"),
    "a format without a version": (described_with(format=FORMAT + 1, version=9), f"a whole number from 2 to {FORMAT}"),
    "unknown key": (described_with(more=1), "the keys"),
    "window 0": (described_with(window=0), "window: a whole number from 1"),
    "window a text": (described_with(window="4"), "window: a whole number from 1"),
    "temperature 0": (described_with(temperature=0), "temperature: a finite number above 0, found 0"),
    "temperature below 0": (described_with(temperature=-1.5), "temperature: a finite number above 0"),
    "temperature NaN": (described_with(temperature=math.nan), "temperature: a finite number above 0"),
    "temperature infinite": (described_with(temperature=math.inf), "temperature: a finite number above 0"),
    "temperature null": (described_with(temperature=None), "temperature: a finite number above 0"),
    "temperature true": (described_with(temperature=True), "temperature: a finite number above 0"),
    "sensors of others": (described_with(sensors={"spot": {}}), "sensors: the keys s2, found spot"),
    "sensors a list": (described_with(sensors=[]), "sensors: an object"),
    "a sensor of more": (with_sensor(unit="m"), "sensors.s2: the keys bands, scale"),
    "a band name short": (with_sensor(bands=BANDS[1:]), "names of 10 bands, or none"),
    "bands of escapes": (with_sensor(bands=["\x1b"] * CHANNELS), r"bands\[0\]"),
    "a scale short": (with_sensor(scale=[1.0]), "scale: a list of length 10"),
    "scale 0": (with_sensor(scale=[0.0] * CHANNELS), "scale: numbers other than 0"),
    "offset NaN": (with_sensor(offset=[math.nan] * CHANNELS), r"offset\[0\]: a finite number"),
    "a day that is none": (with_sensor(first_day="2018-02-30"), "first_day: a date YYYY-MM-DD"),
    "a day of another form": (with_sensor(last_day="20190101"), "last_day: a date YYYY-MM-DD"),
    "days as numbers": (with_sensor(first_day=17776), "first_day: a date YYYY-MM-DD"),
    "one day": (with_sensor(last_day=None), "last_day: a day from first_day on"),
    "days turned": (with_sensor(last_day="2001-01-01"), "last_day: a day from first_day on"),
    "dates below 0": (with_sensor(dates=-1), "dates: a whole number"),
    "colors short": (with_part("legend", colours=["#000000"]), "a color #rrggbb for each of the 2 classes"),
    "colors of another form": (with_part("legend", colours=["red", "blue"]), "a color #rrggbb"),
    "unscored others": (with_part("legend", unscored=["c"]), r"unscored\[0\]: one of a, b"),
    "unscored twice": (with_part("legend", unscored=["a", "a"]), "more than once"),
    "a background beyond": (with_part("legend", background=2), "background: a whole number from -1 to 1"),
    "no citation": (with_part("provenance", citation=None), "provenance.citation"),
    "simulated a text": (with_part("provenance", simulated="no"), "simulated: true or false"),
    "parts a text": (with_part("provenance", test="fold_5"), "provenance.test: a list"),
    "scores of others": (with_part("provenance", scores=[{"modalities": ["s1"], "tiles": 1, "scores": {"miou": 1}}]), r"modalities\[0\]: one of s2"),
    "scores of nothing": (with_part("provenance", scores=[{"modalities": [], "tiles": 1, "scores": {"miou": 1}}]), "at least one modality"),
    "another metric": (with_part("provenance", scores=[{"modalities": ["s2"], "tiles": 1, "scores": {"oa": 1}}]), "the keys miou, found oa"),
    "a score NaN": (with_part("provenance", scores=[{"modalities": ["s2"], "tiles": 1, "scores": {"miou": math.nan}}]), "a finite number"),
    "settings a list": (described_with(config=[1]), "an object"),
    "settings nested": (configured_with(model={"width": 3}), "a list of these"),
    "a wide layer": (configured_with(model__utae__decoder_widths=[10**9, 10**9]), "decoder_widths"),
    "another width": (configured_with(model__head__width=12), r"expected \(12,"),
    "width a text": (configured_with(model__width="16"), "model.width"),
    "unknown setting": (configured_with(model__widht=3), "model.widht"),
    "a band short": (with_statistics(mean=[0.5] * 9, std=[2.0] * 9), "mean and std of 10 bands, found 9 and 9"),
    "deviation 0": (with_statistics(std=[2.0] * 9 + [0.0]), r"std\[9\]"),
    "deviation below 0": (with_statistics(std=[2.0] * 9 + [-2.0]), r"std\[9\]"),
    "deviation NaN": (with_statistics(std=[2.0] * 9 + [math.nan]), r"std\[9\]"),
    "mean infinite": (with_statistics(mean=[0.5] * 9 + [math.inf]), r"mean\[9\]"),
    "mean of 400 digits": (with_statistics(mean=[0.5] * 9 + [10**400]), r"mean\[9\]"),
    "mean a text": (with_statistics(mean=["0.5"] * 10), r"mean\[0\]"),
    "statistics of more": (with_statistics(median=[1.0]), "mean and std"),
    "statistics null": (text_of(STATISTICS, b'{"s2": null}'), "an object"),
    "statistics of others": (text_of(STATISTICS, b'{"s1": {}}'), "the modalities s2, found s1"),
    "NaN weights": (changing_weights(set_kernel(put_nan)), rf"{KERNEL}: expected finite numbers, found 1 of"),
    "integer weights": (changing_weights(set_kernel(lambda x: x.astype(np.int32))), f"{KERNEL}: expected one of F32, F16, BF16, found I32"),
    "double weights": (changing_weights(set_kernel(lambda x: x.astype(np.float64))), "found F64"),
    "another shape": (changing_weights(set_kernel(lambda x: x[None])), rf"{KERNEL}: expected \(16,\), found \(1, 16\)"),
    "one too many": (changing_weights(lambda arrays: arrays.update(more=np.zeros(2, np.float32))), "more: expected no such parameter"),
    "one missing": (changing_weights(lambda arrays: arrays.pop(KERNEL)), rf"{KERNEL}: expected \(16,\), found none"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_content_of_files_is_checked(original, tmp_path, name):
    """Even under matching checksums, and before anything large is allocated."""
    change, message = WRONG[name]
    put(tmp_path, change(original))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_scores_are_not_blamed_for_a_configuration_that_cannot_be_read(original, tmp_path):
    put(tmp_path, configured_with(seeed=1)(original))
    with pytest.raises(ModelError, match="unknown configuration key 'seeed'") as refused:
        load_model(tmp_path)
    assert "provenance" not in str(refused.value)
