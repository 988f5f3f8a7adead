"""Parameters are taken over by name and shape; everything else is reported or refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from omnisat_jax.errors import UserError
from omnisat_jax.train.warmstart import Report, need_trained, warm_start

FRESH = {"encoder": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}, "head": {"kernel": jnp.full((3, 1), 7.0)}}
TRAINED = {"encoder": {"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)}, "projection": {"kernel": np.ones((3, 3), np.float32)}}


def test_parameters_of_the_same_name_are_taken_over_and_the_others_kept():
    params, report = warm_start(FRESH, TRAINED)
    assert jax.tree.structure(params) == jax.tree.structure(FRESH)
    jax.tree.map(np.testing.assert_array_equal, params["encoder"], TRAINED["encoder"])
    assert params["head"]["kernel"] is FRESH["head"]["kernel"]
    assert sorted(report.loaded) == ["encoder/bias", "encoder/kernel"]
    assert report.fresh == ("head/kernel",) and report.unused == ("projection/kernel",)


def test_neither_argument_is_changed():
    warm_start(FRESH, TRAINED)
    assert float(FRESH["encoder"]["kernel"].sum()) == 0 and TRAINED["encoder"]["kernel"].sum() == 6


def test_parameters_lie_where_the_new_model_wants_them():
    here = SingleDeviceSharding(jax.devices()[0])
    target = jax.device_put(FRESH, here)
    params, _ = warm_start(target, TRAINED)
    assert all(leaf.sharding == here for leaf in jax.tree.leaves(params))


def test_the_report_names_modules_not_parameters():
    text = str(warm_start(FRESH, TRAINED)[1])
    assert text == "2 parameters taken over (encoder); 1 start fresh (head); 1 left behind (projection)"
    assert "0 left behind (nothing)" in str(Report(("a/b",), (), ()))


def test_another_shape_is_refused_with_both():
    with pytest.raises(UserError, match=r"have other shapes: encoder/bias \(4,\) for \(3,\)"):
        warm_start(FRESH, {"encoder": {"bias": np.ones(4, np.float32)}})


def test_nothing_in_common_is_refused():
    with pytest.raises(UserError, match="share no name with this model"):
        warm_start(FRESH, {"other": {"kernel": np.ones(3)}})


def test_modules_that_start_fresh_are_neither_slowed_nor_frozen():
    report = Report(("encoders_s2/kernel", "fusion/kernel"), ("encoders_s1a/kernel", "fusion/modality_s1a", "head/kernel"), ())
    need_trained(report, {})
    need_trained(report, {"encoders_s2": 0.0, "projections_patch_s2": 0.0})
    with pytest.raises(UserError, match="finetune.encoder_rate 0.5: expected .* found none for some of encoders_s1a, fusion, which start fresh; set"):
        need_trained(report, dict.fromkeys(("encoders_s2", "encoders_s1a", "fusion"), 0.5))
