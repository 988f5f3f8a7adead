"""Runs on data with tiles without labels: they are pre-trained on, and nothing else."""

import json

import pytest

from configs import base
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.experiment.context import make_run_context
from omnisat_jax.records.reader import Records
from tests.conftest import go, prepare_pastis, tiny
from tests.data.test_unlabelled import strip, strip_all
from tests.fuzz.datasets import MAKERS


def test_data_that_never_had_labels_are_pretrained_on(tmp_path, console):
    root = tmp_path / "tiles"
    MAKERS["tiles"](root)
    strip_all(root, "tiles")
    config = tiny(**{"data.dataset": "tiles", "data.raw_dir": str(root), "data.cache_dir": str(tmp_path / "cache"), "data.unlabelled": "pretrain"})
    for name in list(config.modalities):
        del config.modalities[name]
    config.modalities.s2 = base.modality(kind="series", channels=2, resolution=10.0, patch=4, encoder="patch_ltae")
    config.modalities.aerial = base.modality(kind="image", channels=3, resolution=2.5, patch=16, encoder="patch_cnn")
    config.pretrain.steps, config.pretrain.eval_every = 1, 0
    config.contrastive.fused = False
    with pytest.raises(UserError, match="expected tiles with labels in the training parts fold_1, fold_2, found none among 4 tiles; .*finetune.steps=0"):
        go(config, tmp_path / "refused", console)
    config.finetune.steps = 0
    assert go(config, tmp_path / "run", console) is None
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["protocol"] == "unlabelled"
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert row["stage"] == "pretrain" and row["step"] == 1 and row["loss"] > 0


@pytest.fixture
def partly(root, tmp_path):
    """Records of ten tiles, two per fold; the first of folds 1, 4 and 5 have no labels."""
    strip(root, "pastis", ["10000", "10003", "10004"])
    assert prepare_pastis(root, tmp_path / "records", "--unlabelled", "pretrain") == 0
    return Records(tmp_path / "records")


def indices(examples):
    return sorted({int(index) for batch in examples for index in batch["tile_index"][batch["weight"] > 0]})


def test_only_pretraining_sees_tiles_without_labels(partly, tmp_path, console):
    from omnisat_jax.train.batches import RunBatches

    config = schema.parse(tiny(**{"data.unlabelled": "pretrain", "data.void_test_parcels": True}))
    context = make_run_context(config, tmp_path, partly, (), console)
    batches = RunBatches(
        records=partly, additional=(), split=context.split, input_spec=context.input_spec, mesh=context.mesh, config=config.data,
        eval_batch_size=2, seed=0,
    )  # fmt: skip
    named = {int(name): index for index, name in enumerate(partly.tile_ids)}

    def seen(endless):
        return indices(next(endless)[0] for _ in range(6))

    assert seen(batches.pretraining(2, 0)) == sorted(named[tile] for tile in (10000, 10001, 10002, 10005, 10006, 10007))
    labelled = sorted(named[tile] for tile in (10001, 10002, 10005, 10006, 10007))
    assert seen(batches.finetuning(2, 1.0, 0)) == labelled and len(seen(batches.finetuning(2, 0.4, 0))) == 2
    assert indices(batches.training_tiles()) == labelled
    assert indices(batches.evaluation(context.split.validation)) == [named[10008]]
    assert indices(batches.evaluation(context.split.test)) == [named[10009]]


def test_labels_are_needed_where_they_are_used(root, tmp_path, console):
    strip(root, "pastis", ["10004", "10009"])
    assert prepare_pastis(root, tmp_path / "records", "--unlabelled", "pretrain") == 0
    records = Records(tmp_path / "records")

    def context(**changes):
        return make_run_context(schema.parse(tiny(**{"data.unlabelled": "pretrain"} | changes)), tmp_path, records, (), console)

    message = "expected tiles with labels in the test parts fold_5, found none among 2 tiles"
    for changes in ({}, {"finetune.steps": 0, "eval.probe": "linear"}):
        with pytest.raises(UserError, match=message):
            context(**changes)
    assert context(**{"finetune.steps": 0}).split.test == ("fold_5",)
