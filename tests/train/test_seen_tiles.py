"""The tiles that a pre-training keeps, and how they are known again."""

import dataclasses
import json

import pytest
from rich.console import Console

from data.prepare import prepare
from omnisat_jax.config import schema
from omnisat_jax.errors import DataError, UserError
from omnisat_jax.experiment.context import make_run_context
from omnisat_jax.experiment.stages import _seen
from omnisat_jax.records.reader import Records
from omnisat_jax.train import seen_tiles
from omnisat_jax.train.seen_tiles import TileSet, keep, read, shared, without
from tests.conftest import tiny

SOME = TileSet("pastis", False, None, 1280.0, {"a": (0.1, 45.25), "b": None})
MORE = TileSet("pastis", True, {"seed": 3}, 320.0, {"a": (0.1, 45.25)})


def test_tiles_are_read_as_they_were_kept(tmp_path):
    assert read(tmp_path) is None
    keep(tmp_path, [SOME])
    assert read(tmp_path) == (SOME,)
    before = (tmp_path / "pretrain" / "tiles.json").stat().st_mtime_ns
    keep(tmp_path, [SOME])
    assert (tmp_path / "pretrain" / "tiles.json").stat().st_mtime_ns == before
    keep(tmp_path, [MORE, SOME])  # a run that goes on with other data has seen both
    assert read(tmp_path) == (SOME, MORE)


@pytest.mark.parametrize("changes", [{"side": -1.0}, {"tiles": {"a": [0.0]}}, {"tiles": {"a": [0.0, 91.0]}}, {"tiles": ["a"]}, {"simulated": 1}, {"dataset": None}])
def test_damaged_files_are_named(tmp_path, changes):
    keep(tmp_path, [SOME])
    path = tmp_path / "pretrain" / "tiles.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps([content[0] | changes]))
    with pytest.raises(DataError, match=r"tiles\.json"):
        read(tmp_path)


def test_tiles_of_another_set_are_left_out_under_the_same_id_only():
    other = dataclasses.replace(SOME, tiles={"c": (0.1, 45.25), "b": (9.0, 9.0)})
    assert shared(SOME, other) == [("b", "b"), ("a", "c")]
    assert list(without(SOME, other).tiles) == ["a"]


@pytest.mark.parametrize("change", [{"data.float16": True}, {"data.on_bad": "mask", "data.max_bad": 0.5}])
def test_tested_tiles_are_found_whatever_the_options_of_storage(simulated, tmp_path, change):
    console = Console(quiet=True)

    def context_of(**changes):
        config = schema.parse(tiny(**{"data.raw_dir": str(simulated), "data.cache_dir": str(tmp_path / "cache")} | changes))
        records = Records(prepare(config.data, console))
        return make_run_context(config, tmp_path, records, (), console)

    first, run = context_of(**change), tmp_path / "run"
    (run / "pretrain").mkdir(parents=True)
    (run / "pretrain" / "done.json").write_text(json.dumps({"last": 4}))
    data = first.records.info.provenance() | {"train": list(first.split.train)}
    (run / "run.json").write_text(json.dumps({"data": data}))
    (run / "config.json").write_text(json.dumps(schema.flatten(first.config)))
    seen_tiles.keep(run, _seen(first))
    same = context_of(pretrain_from=str(run))  # of the same fold
    assert same.records.fingerprint != first.records.fingerprint and same.records.tile_ids == first.records.tile_ids
    with pytest.raises(UserError, match=r"pretrain_from: expected a pre-training without the \d+ tiles .* that has seen \d+ of them, first 100"):
        context_of(**{"pretrain_from": str(run), "data.fold": 2})
