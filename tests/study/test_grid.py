"""Studies that cannot be run are refused in one sentence before anything runs."""

import pytest

from configs.studies import base
from omnisat_jax.config.rules import ConfigError
from omnisat_jax.study import grid


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}}, "study.rows: expected 1 to 1000"),
        ({"seeds": ()}, "study.seeds"),
        ({"seeds": (-1,)}, "study.seeds: expected .* found -1"),
        ({"seeds": (True,)}, "study.seeds: expected .* found True"),
        ({"seeds": 0.5}, "study.seeds: expected .* found 0.5"),
        ({"seeds": (0, 0)}, "study.seeds: expected .* all different"),
        ({"seeds": tuple(range(1000)), "folds": tuple(range(1, 1001))}, "expected at most 100000 runs, found 1000000"),
        ({"folds": "one"}, "study.folds: expected .* found 'one'"),
        ({"folds": None}, "study.folds: expected .* found None"),
        ({"label_shares": (0.0,)}, "study.label_shares: expected .* found 0.0"),
        ({"label_shares": (2.0,)}, "study.label_shares: expected .* found 2.0"),
        ({"label_shares": (float("nan"),)}, "study.label_shares: expected .* found nan"),
        ({"label_shares": (0.1, 0.1 + 1e-9)}, "study.label_shares: expected shares that differ"),
        ({"resamples": 0}, "study.resamples: expected a whole number from 1"),
        ({"resamples": 1e3}, "study.resamples: expected a whole number from 1"),
        ({"name": "../x"}, "study.name: expected a name"),
        ({"config": "LICENSE"}, "row plain: study.config: LICENSE"),
        ({"config": "configs/studies/base.py"}, "row plain: study.config: configs/studies/base.py: expected a function get_config"),
        ({"baseline": 3}, "study.baseline: expected printable text"),
        ({"changes": "seed=1"}, "study.changes: expected 0 to 200 entries"),
        ({"rows": {"plain": {}}}, "missing configuration keys: study.rows.plain.position"),
        ({"rows": {"a/b": {}}}, "the name 'a/b' in study.rows: expected a name"),
        ({"rows": {"plain": 3}}, "study.rows.plain: expected a group of keys, found 3"),
        ({"rows": 3}, "study.rows: expected names, each with a group of keys, found 3"),
        ({"only": ("plian",)}, "study.only names .plian., which is no row. Did you mean .plain."),
        ({"changes": ("model.wdth=3",)}, "Did you mean 'model.width'"),
        ({"changes": ("model.width=many",)}, "expected a int"),
        ({"changes": ("model.width",)}, "expected key=value"),
        ({"config": "configs/nowhere.py"}, "found nothing at configs/nowhere.py"),
        ({"size": "huge"}, "huge"),
        ({"changes": ("data.fold=0",), "folds": (0,)}, "study.folds: expected"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_runs(changes, message):
    config = base.study("trial", baseline="plain")
    base.add(config, "plain", "")
    with pytest.raises(ConfigError, match=message):
        grid.runs(grid.parse(config.to_dict() | changes))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"preset": "plian"}, "row plain: study.size and the presets of the rows: .* found 'plian'"),
        ({"subset": "s2+s3"}, "study.rows.plain.subset: expected some of s1a, s1d, s2, spot, .* found 's2.s3'"),
        ({"subset": "s2+s2"}, "study.rows.plain.subset: expected .* each once"),
        ({"published": float("inf")}, "study.rows.plain.published: expected a number from 0 to 100"),
        ({"position": -1}, "study.rows.plain.position: expected"),
        ({"changes": ("finetune.learning_rate=1e30",)}, "row plain: finetune.learning_rate: expected a number above 0 and up to 10"),
        ({"changes": ("model.width=" + "[" * 5000,)}, "study.rows.plain.changes: expected"),
        ({"changes": ("model.width=" + "[" * 1900,)}, "the study sets model.width to"),
        ({"changes": ("seed",)}, "row plain: expected key=value, found 'seed'"),
        ({"preest": ""}, "unknown configuration key 'study.rows.plain.preest'. Did you mean 'preset'"),
    ],
)
def test_rows_that_cannot_be_run_are_named(row, message):
    values = base.study("trial", baseline="plain").to_dict()
    plain = {"position": 0, "preset": "", "changes": (), "published": 0.0, "source": "", "subset": ""}
    with pytest.raises(ConfigError, match=message):
        grid.runs(grid.parse(values | {"rows": {"plain": plain | row}}))


def test_unknown_keys_are_named():
    config = base.study("trial", baseline="plain")
    config.sedes = (1,)
    with pytest.raises(ConfigError, match="Did you mean 'seeds'"):
        grid.parse(config)
