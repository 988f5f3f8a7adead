"""Temperature scaling of both kinds of labels: what is measured, over which tiles, and that nothing else changes."""

import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.metrics.calibration import TEMPERATURES, ScalingScores, fit_temperature
from omnisat_jax.tasks.calibrate import ScalingEffect, TemperatureLadder
from tests.tasks.test_finetune import AERIAL, MASKS, RADAR, Model, batch, classify, segment

DENSE = (segment, jnp.zeros((5, 4, 4), jnp.uint8))
TILES = (classify, jnp.tile(jnp.array([[1.0, 0.0]]), (5, 1)))
PREDICTIONS = {segment: 3 * 16, classify: 3 * 2}  # of the three tiles that hold anything, without padding


def host(result):
    return {key: np.asarray(value) for key, value in result.items() }


def likelihood(task, logits, temperature):
    """Of a prediction of the first class, whose label is right, by the logits (first, -first)."""
    margin = 2 * logits if task.best == "miou" else logits
    return np.log1p(np.exp(-margin / temperature)) * (1 if task.best == "miou" else 2)


@pytest.mark.parametrize(("make", "labels"), [DENSE, TILES])
def test_the_ladder_sums_over_tiles_that_hold_something(make, labels):
    task = make(Model())
    ladder = TemperatureLadder(task)
    scores = ladder.scores()
    for _ in range(2):
        scores.add(host(ladder.evaluate({}, batch(AERIAL, RADAR, labels), MASKS[:1])))
    (sums,) = scores.compute()
    firsts = np.array([1.0 + 1, 1 + 2.0**2, 1 + 1])  # logits by the number of modalities of each tile that counts
    pixels = 16 if task.best == "miou" else 1
    np.testing.assert_allclose(sums, [2 * pixels * likelihood(task, firsts, t).sum() for t in TEMPERATURES], rtol=1e-4, atol=1e-4)
    found = fit_temperature(sums)
    assert found.value == 0.25 and found.remark.startswith("It lies at the end")  # always right: never sure enough


@pytest.mark.parametrize(("make", "labels"), [DENSE, TILES])
def test_what_a_temperature_changes_is_measured(make, labels):
    task, tiles = make(Model()), batch(AERIAL, RADAR, labels)
    scaling = ScalingScores()
    scaling.add(ScalingEffect(task).evaluate({"model": {}, "temperature": jnp.float32(2)}, tiles, MASKS[:1]))
    values = scaling.compute()
    assert values["predictions"] == PREDICTIONS[make]
    firsts = np.array([2.0, 5.0, 2.0])
    pixels = 16 if task.best == "miou" else 1
    for side, temperature in (("before", 1.0), ("after", 2.0)):
        total = pixels * likelihood(task, firsts, temperature).sum()
        assert values[side]["nll"] == pytest.approx(total / PREDICTIONS[make], rel=1e-5)
    if make is segment:
        expected = task.evaluate({}, tiles, MASKS)["calibration"][0]
        np.testing.assert_allclose(values["before"]["counts"], np.asarray(expected, float), rtol=1e-6)
    assert values["before"]["ece"] < values["after"]["ece"]  # every prediction is right, and T = 2 makes it less sure


def test_tiles_whose_predictions_are_not_finite_are_named():
    make, labels = DENSE
    ladder, tiles = TemperatureLadder(make(Model())), batch(AERIAL, RADAR, labels)
    tiles["radar"]["values"] = tiles["radar"]["values"].at[2].set(1e25).at[4].set(1e25)  # the last one is padding
    scores = ladder.scores(("t0", "t1", "t2", "t3", "t4"))
    scores.add(host(ladder.evaluate({}, tiles, MASKS[:1])))
    with pytest.raises(UserError, match="found others in 1 of 4 tiles: t2"):
        scores.compute()
