"""What the door lets through can be built: both ends of the ranges, every whole model. Shapes only, nothing is compiled."""

import functools

import grain
import jax
import pytest

from omnisat_jax.batch import BatchLayout, ModalityLayout
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.input import pipeline
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.models.registry import make_model
from omnisat_jax.optim.optimizer import make_optimizer
from omnisat_jax.tasks.build import make_task
from omnisat_jax.train.step import create_state
from tests.conftest import tiny
from tests.keys import LEAVES

GRID, CLASSES = 2, ("meadow", "maize")
LOW = {
    **{f"model.{key}": 1 for key in ("fusion.heads", "vit.heads", "ltae.heads", "ltae.key_dim", "fusion.mlp_ratio", "location.degrees")},
    **{f"model.{key}": 1 for key in ("location.hidden", "location.layers", "decoder.hidden", "skysense.frame_width", "head.width")},
    **{f"model.{key}": 1 for key in ("projection.hidden", "projection.width", "resnet.blocks", "patch_cnn.blocks", "ltae.period")},
    **{f"model.{key}": (1, 1) for key in ("utae.encoder_widths", "utae.decoder_widths", "resnet.widths")},
    **{f"model.{key}": () for key in ("patch_ltae.input_widths", "patch_ltae.output_widths")},
    "model.width": 8, "model.ltae.width": 2, "model.vit.stem": "conv", "contrastive.pixels": 1, "contrastive.temperature": 0.001,
    "reconstruction.date_share": 1e-6, "seed": 0, "modalities.s2.dates_train": 1, "finetune.steps": 1, "finetune.warmup": 0.0,
}  # fmt: skip
HIGH = {
    **{f"model.{key}.dropout": 0.999 for key in ("ltae", "vit", "fusion", "head")},
    "model.fusion.heads": 16, "model.vit.heads": 16, "model.ltae.heads": 8, "model.ltae.period": 1_000_000, "model.fusion.mlp_ratio": 16,
    "model.utae.encoder_widths": (4,) * 8, "model.utae.decoder_widths": (4,) * 8, "model.resnet.widths": (4,) * 8, "contrastive.temperature": 100,
    "reconstruction.mask_ratio": 0.999, "reconstruction.date_share": 1, "seed": 2**32 - 1, "finetune.warmup": 1, "finetune.learning_rate": 10,
    "finetune.clip": 1_000_000, "finetune.weight_decay": 10, "finetune.steps": 100_000_000, "modalities.s2.dates_train": 10_000,
    "contrastive.jitter": 2, "contrastive.jitter_days": 366, "model.utae.border": "zeros",  # eight levels leave one pixel, which cannot be reflected
}  # fmt: skip


def states(settings):
    """Shapes of the first state of each stage."""
    modalities = []
    for spec in settings.modalities:
        side = (GRID * spec.patch,) * 2
        dates = min(spec.dates_train, 3) if spec.kind == "series" else 0
        modalities.append(ModalityLayout(spec.name, dates, (2,) if spec.kind == "location" else (*side, spec.channels), "float32"))
    dense = settings.task == "segment"
    labels = (GRID * 4, GRID * 4) if dense else (len(CLASSES),)
    batch = BatchLayout(tuple(modalities), labels, "uint8" if dense else "float32").abstract(1)
    model = make_model(settings.modalities, settings, len(CLASSES), 4 if dense else 0, jax.numpy.float32)
    statistics = {spec.name: {"mean": [0.0] * spec.channels, "std": [1.0] * spec.channels} for spec in settings.modalities}
    for stage in ("pretrain", "finetune"):
        if getattr(settings, stage).steps:
            task = make_task(stage, settings, model, statistics, classes=CLASSES, ignore=255)
            create = functools.partial(create_state, task, make_optimizer(getattr(settings, stage)))
            yield jax.eval_shape(create, jax.random.key(settings.seed), batch)


@pytest.mark.parametrize(
    ("row", "ends"),
    [
        (row, LOW)
        for row in ("masked,no_s1", "omnisat_resnet,no_s1", "dual", "early", "published,no_s1", "satclip,no_s1", "skysense,no_s1")
    ]
    + [(row, HIGH) for row in ("masked,no_s1", "dual", "published,no_s1", "skysense,no_s1")],
    ids=lambda value: value if isinstance(value, str) else {id(LOW): "low", id(HIGH): "high"}[id(value)],
)
def test_ends_of_the_ranges_can_be_built(row, ends):
    found = list(states(schema.parse(tiny(row, **ends))))
    assert found and all(jax.tree.leaves(state.params) for state in found)


def test_cudnn_says_what_it_needs():
    settings = schema.parse(tiny("no_s1", **{"model.fusion.attention": "cudnn"}))
    with pytest.raises(
        UserError, match="model.fusion.attention 'cudnn': expected a GPU, bfloat16 .* found cpu, float32 and heads of 8"
    ):
        list(states(settings))


def test_batches_beyond_memory_are_refused(records, monkeypatch):
    monkeypatch.setattr(pipeline.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**22}[name])  # 16 GiB
    settings = schema.parse(tiny())
    input_spec = resolve_input_spec(settings, records.info)
    transform = MakeBatch(input_spec.train, input_spec.grid, input_spec.crop, settings.data.origin, True, True)
    source = records.source(("fold_1",))
    with pytest.raises(UserError, match="64 batches of 65536 samples: expected at most the 17.2 GB .* Lower data.buffer"):
        pipeline.training(source, transform, seed=0, batch_size=65_536, options=grain.ReadOptions(prefetch_buffer_size=64))
    with pytest.raises(UserError, match="1 batches of 10000000 samples"):
        next(pipeline.evaluation(source, transform, batch_size=10_000_000))


def test_more_dates_and_fewer_labels_than_the_data_have(records):
    settings = schema.parse(
        tiny(**{"modalities.s2.dates_train": 10_000, "modalities.s2.dates_eval": 10_000, "data.label_share": 1e-9})
    )
    input_spec, longest = resolve_input_spec(settings, records.info), records.modalities["s2"].longest
    assert {m.dates for layout in (input_spec.train, input_spec.evaluation) for m in layout.modalities if m.name == "s2"} == {longest}
    assert len(records.source(("fold_1", "fold_2"), settings.data.label_share)) == 1


def test_the_ends_are_those_of_the_ranges():
    for ends, side in ((LOW, "low"), (HIGH, "high")):
        for key in ("contrastive.temperature", "model.ltae.period", "model.fusion.mlp_ratio", "seed", "finetune.warmup"):
            assert ends[key] == getattr(LEAVES[key][1], side)
