"""One run from configuration to results. The only file that knows everybody."""

import dataclasses
import json
import logging
import pathlib

import jax
import numpy as np
from clu import parameter_overview
from rich.console import Console

from data.prepare import prepare
from omnisat_jax import schema
from omnisat_jax.input import device, pipeline
from omnisat_jax.input.layouts import Agreement, agree
from omnisat_jax.input.records import Records, Split, choose_split
from omnisat_jax.input.transforms import Assemble
from omnisat_jax.interop.model_files import save_model
from omnisat_jax.modalities import subsets as all_subsets
from omnisat_jax.models.assembly import Assembly
from omnisat_jax.models.build import make_model
from omnisat_jax.optim.optimizer import make_optimizer
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.parallel import rules
from omnisat_jax.report import results as reporting
from omnisat_jax.report import tables
from omnisat_jax.report.announcement import announce
from omnisat_jax.tasks.finetune import Classify, Segment
from omnisat_jax.tasks.pretrain import Pretrain
from omnisat_jax.train import display, workdir
from omnisat_jax.train.checkpoint import Checkpoints, abstract_like
from omnisat_jax.train.evaluate import evaluate
from omnisat_jax.train.loop import Collaborators, run_loop
from omnisat_jax.train.step import create_state, make_step
from omnisat_jax.train.warmstart import warm_start
from omnisat_jax.train.writers import MetricsWriter

STAGES = ("prepare", "pretrain", "finetune", "evaluate")
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Everything the stages share."""

    config: schema.Experiment
    folder: pathlib.Path
    console: Console
    records: Records
    split: Split
    agreement: Agreement
    mesh: jax.sharding.Mesh
    dtype: np.dtype
    statistics: dict

    @property
    def names(self):
        """Modalities in model order."""
        return tuple(spec.name for spec in self.agreement.specs)


def run(config: schema.Experiment, *, folder, stage: str, console: Console) -> dict | None:
    """Runs the stages up to and including `stage` that are not finished yet ("all": every one).

    Returns:
      The results of the evaluation, if it is among the stages.

    Raises:
      WorkdirError, DataError, ConfigError, ValueError, FileNotFoundError: with a message for the user.
    """
    folder = pathlib.Path(folder)
    flat = schema.flatten(config)
    workdir.claim(folder, flat)
    records = Records(prepare(config.data, console))
    setting = _set_up(config, folder, console, records, flat)
    announce(console, records, setting.split, setting.agreement)
    wanted = STAGES if stage == "all" else STAGES[: STAGES.index(stage) + 1]
    if "pretrain" in wanted and config.pretrain.steps:
        _train(setting, "pretrain", _pretrain_task(setting))
    if "finetune" in wanted and config.finetune.steps:
        _train(setting, "finetune", _finetune_task(setting))
    if "evaluate" in wanted:
        if not config.finetune.steps:
            raise schema.ConfigError("finetune.steps is 0: there is no fine-tuned model to evaluate; use --stage=pretrain")
        return _evaluate(setting)
    return None


def _set_up(config, folder, console, records, flat) -> Setting:
    split = choose_split(config.data.protocol, records.parts, config.data.fold)
    if not records.tiles(split.test):
        raise ValueError(f"the test parts {', '.join(split.test)} hold no tile")
    mesh = meshes.make_mesh(config.mesh)
    for name, size in (
        ("pretrain.batch_size", config.pretrain.batch_size),
        ("finetune.batch_size", config.finetune.batch_size),
        ("eval.batch_size", config.eval.batch_size),
    ):
        meshes.check_batch_size(name, size, mesh)
    agreement = agree(config, records)
    precision = config.model.precision
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    about = {key: records.about[key] for key in ("dataset", "fingerprint", "source", "simulated", "citation")}
    workdir.describe(folder, flat=flat, data=about | dataclasses.asdict(split), mesh=mesh, precision=precision)
    statistics = {name: records.statistics(split.train)[name] for name in (spec.name for spec in agreement.specs)}
    workdir.write_json(folder / "statistics.json", statistics)
    return Setting(config, folder, console, records, split, agreement, mesh, np.dtype(jax.numpy.dtype(precision)), statistics)


def _model(s: Setting) -> Assembly:
    return make_model(s.agreement.specs, s.config, len(s.agreement.classes), s.agreement.label_patch, s.dtype)


def _pretrain_task(s: Setting):
    return Pretrain(_model(s), s.statistics, s.config.pretrain.modality_dropout, s.config.reconstruction)


def _finetune_task(s: Setting):
    common = (_model(s), s.statistics, s.agreement.classes, s.config.finetune.modality_dropout)
    if s.config.task == "segment":
        return Segment(*common, ignore=s.records.ignore, dice_weight=s.config.segmentation.dice_weight)
    return Classify(*common, threshold=s.config.eval.threshold)


def _assemble(s: Setting, training: bool) -> Assemble:
    void = None
    if training and s.config.data.void_test_parcels:
        void = s.records.parcels(s.split.test)
    return Assemble(
        layout=s.agreement.train if training else s.agreement.evaluation,
        grid=s.agreement.grid,
        crop=s.agreement.crop if training else s.agreement.grid,
        origin=s.config.data.origin,
        random=training,
        augment=s.config.data.augment == "d4",
        ignore=s.records.ignore,
        background=s.records.background,
        void_parcels=void,
    )


def _evaluation_batches(s: Setting, parts):
    return pipeline.evaluation(
        s.records.source(parts),
        _assemble(s, training=False),
        s.agreement.evaluation,
        batch_size=s.config.eval.batch_size,
        process=jax.process_index(),
        processes=jax.process_count(),
    )


def _compile_evaluation(s: Setting, task, abstract_params):
    """Compiled (params, batch, subsets) for one number of subsets; results on every host."""
    batch = s.agreement.evaluation.abstract(s.config.eval.batch_size, meshes.batch_sharding(s.mesh))

    def build(count):
        masks = jax.ShapeDtypeStruct((count, len(s.names)), bool, sharding=meshes.replicated(s.mesh))
        step = jax.jit(task.evaluate, out_shardings=meshes.replicated(s.mesh))
        return step.lower(abstract_params, batch, masks).compile()

    return build


def _train(s: Setting, stage: str, task):
    """Trains one stage, or goes on where it stopped, or leaves it if it is finished."""
    settings = getattr(s.config, stage)
    if workdir.is_done(s.folder, stage):
        s.console.print(f"{stage}: finished before, not repeated")
        return
    root = jax.random.fold_in(jax.random.key(s.config.seed), STAGES.index(stage))
    optimizer = make_optimizer(settings)
    sharding = meshes.batch_sharding(s.mesh)
    abstract_batch = s.agreement.train.abstract(settings.batch_size, sharding)

    def create(key):
        sample = jax.tree.map(lambda x: jax.numpy.zeros((1, *x.shape[1:]), x.dtype), abstract_batch)
        return create_state(task, optimizer, key, sample)

    shapes = jax.eval_shape(create, root)
    places = rules.shardings(shapes, s.mesh, s.config.mesh.fsdp_min_size)
    abstract = abstract_like(shapes, places)
    checkpoints = Checkpoints(s.folder / stage / "checkpoints", keep=settings.keep, meta=_meta(s, settings))
    try:
        first = checkpoints.latest() or 0
        if first:
            state = checkpoints.restore(first, abstract)
            s.console.print(f"{stage}: goes on after step {first}")
        else:
            state = jax.jit(create, out_shardings=places)(root)
            if stage == "finetune" and s.config.pretrain.steps:
                state = _from_pretraining(s, state)
            log.info("%s parameters:\n%s", stage, parameter_overview.get_parameter_overview(state.params))
            count = sum(x.size for x in jax.tree.leaves(state.params))
            s.console.print(f"{stage}: {count:,} parameters, {settings.steps} steps of {settings.batch_size} tiles")
        with s.console.status("compiling", spinner="dots"):
            step = jax.jit(make_step(task, optimizer, root), donate_argnums=0, out_shardings=(places, None))
            step = step.lower(abstract, abstract_batch).compile()
        _loop(s, stage, task, state, first, step, checkpoints, abstract.params)
        workdir.mark_done(s.folder, stage, {"steps": settings.steps, "best": checkpoints.best(), "last": settings.steps})
    finally:
        checkpoints.close()


def _loop(s: Setting, stage, task, state, first, step, checkpoints, abstract_params):
    settings = getattr(s.config, stage)
    sharding = meshes.batch_sharding(s.mesh)
    dataset = pipeline.training(
        s.records.source(s.split.train),
        _assemble(s, training=True),
        seed=s.config.seed,
        batch_size=settings.batch_size,
        process=jax.process_index(),
        processes=jax.process_count(),
        threads=s.config.data.threads,
        buffer=s.config.data.buffer,
    )
    validate = None
    if s.split.validation:
        subsets = jax.device_put(np.ones((1, len(s.names)), bool), meshes.replicated(s.mesh))
        compiled = []

        def validate(params):
            if not compiled:
                compiled.append(_compile_evaluation(s, task, abstract_params)(1))
            batches = _evaluation_batches(s, s.split.validation)
            scores = evaluate(compiled[0], params, batches, subsets, task.scores(), sharding)[0]
            return {key: value for key, value in scores.items() if isinstance(value, float)}

    writer = MetricsWriter(s.folder, stage, after_step=first)
    with display.progress(s.console, stage, settings.steps, first) as show:
        try:
            use = Collaborators(
                step=step,
                batches=device.prefetch(pipeline.start_at(dataset, first), sharding),
                validate=validate,
                rank=lambda scores: scores[task.best] if task.higher else -scores[task.best],
                save=checkpoints.save,
                write=writer.write,
                show=show,
                tile_names=s.records.tile_ids,
            )
            return run_loop(state, first, settings, s.config.nonfinite_budget, use)
        finally:
            writer.close()


def _meta(s: Setting, settings: schema.Stage):
    """What a checkpoint must agree with to be continued, and what it needs to be used."""
    data = {
        "fingerprint": s.records.fingerprint,
        "train": list(s.split.train),
        "seed": s.config.seed,
        "batch_size": settings.batch_size,
    }
    return {"data": data, "statistics": s.statistics, "modalities": list(s.names), "classes": list(s.agreement.classes)}


def _from_pretraining(s: Setting, state):
    settings = s.config.pretrain
    task = _pretrain_task(s)
    optimizer = make_optimizer(settings)
    sample = s.agreement.train.abstract(1)

    def create(key, batch):
        return create_state(task, optimizer, key, batch)

    shapes = jax.eval_shape(create, jax.random.key(0), sample)
    abstract = abstract_like(shapes, rules.shardings(shapes, s.mesh, s.config.mesh.fsdp_min_size))
    checkpoints = Checkpoints(s.folder / "pretrain" / "checkpoints", keep=settings.keep, meta=_meta(s, settings))
    try:
        step = checkpoints.latest()
        if step != settings.steps:
            raise ValueError(
                f"{checkpoints.directory}: pre-training stopped at step {step} of {settings.steps}; run --stage=pretrain first"
            )
        trained = checkpoints.restore(step, abstract).params
    finally:
        checkpoints.close()
    params, report = warm_start(state.params, trained)
    s.console.print(f"from pre-training: {report}", highlight=False)
    return state.replace(params=params)


def _evaluate(s: Setting) -> dict:
    """Scores the fine-tuned model on the test parts with every non-empty subset of modalities."""
    if workdir.is_done(s.folder, "evaluate"):
        s.console.print("evaluate: finished before, not repeated")
        results = json.loads((s.folder / "results.json").read_text())
        tables.show(s.console, results)
        return results
    if not workdir.is_done(s.folder, "finetune"):
        raise ValueError(f"{s.folder}: fine-tuning has not finished; run --stage=finetune first")
    task = _finetune_task(s)
    step, params, abstract = _best_parameters(s, task)
    subsets = all_subsets(s.names)
    masks = np.array([[name in subset for name in s.names] for subset in subsets])
    with s.console.status("compiling", spinner="dots"):
        compiled = _compile_evaluation(s, task, abstract)(len(subsets))
    scores = task.scores()
    panels = reporting.PanelCollector(s.config.eval.panels, subsets, s.records.tile_ids)
    values = evaluate(
        compiled,
        params,
        _evaluation_batches(s, s.split.test),
        jax.device_put(masks, meshes.replicated(s.mesh)),
        scores,
        meshes.batch_sharding(s.mesh),
        watch=panels,
    )
    results = {
        "name": s.config.name,
        "task": s.config.task,
        "protocol": reporting.protocol(s.config, s.records, s.split, s.agreement, step),
        "subsets": [{"modalities": list(subset), "scores": value} for subset, value in zip(subsets, values)],
    }
    reporting.write_results(s.folder, results, scores, panels, ignore=s.records.ignore)
    save_model(
        s.folder / "model",
        jax.device_get(jax.jit(lambda x: x, out_shardings=meshes.replicated(s.mesh))(params)),
        config=s.config,
        modalities=s.names,
        classes=s.agreement.classes,
        label_patch=s.agreement.label_patch,
        statistics=s.statistics,
    )
    workdir.mark_done(s.folder, "evaluate", {"checkpoint": step})
    tables.show(s.console, results)
    s.console.print(
        f"written: {s.folder}/results.json, results.md, panels.png, model/"
        + (", confusion.png" if s.config.task == "segment" else "")
    )
    return results


def _best_parameters(s: Setting, task):
    settings = s.config.finetune
    optimizer = make_optimizer(settings)
    sample = s.agreement.train.abstract(1)
    shapes = jax.eval_shape(lambda key, batch: create_state(task, optimizer, key, batch), jax.random.key(0), sample)
    abstract = abstract_like(shapes, rules.shardings(shapes, s.mesh, s.config.mesh.fsdp_min_size))
    checkpoints = Checkpoints(s.folder / "finetune" / "checkpoints", keep=settings.keep, meta=_meta(s, settings))
    try:
        # Without validation tiles nothing may choose among checkpoints: the last one is scored.
        step = checkpoints.best() if s.split.validation else checkpoints.latest()
        return step, checkpoints.restore(step, abstract).params, abstract.params
    finally:
        checkpoints.close()
