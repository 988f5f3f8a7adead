"""One run from configuration to results. With `setting`, the only file that knows everybody."""

import contextlib
import logging
import pathlib

import grain
import jax
from clu import parameter_overview
from rich.console import Console

from data.prepare import prepare
from omnisat_jax.aot.chips import PEAKS
from omnisat_jax.aot.flops import program_flops
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.experiment.context import LostStepError, RunContext, Trained, make_run_context
from omnisat_jax.experiment.probing import Monitor, probe
from omnisat_jax.inference.model_folder import save_model
from omnisat_jax.input import device, pipeline
from omnisat_jax.metrics.representation import COLLAPSED, SHORTCUT
from omnisat_jax.modalities import subsets as all_subsets
from omnisat_jax.optim.optimizer import make_optimizer
from omnisat_jax.parallel import hosts, rules
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.records.reader import Records
from omnisat_jax.report import html, tables
from omnisat_jax.report import results as reporting
from omnisat_jax.report.announcement import announce
from omnisat_jax.train import progress as display
from omnisat_jax.train import workdir
from omnisat_jax.train.checkpoints import abstract_like
from omnisat_jax.train.evaluator import evaluate
from omnisat_jax.train.loop import LoopHooks, run_loop
from omnisat_jax.train.step import create_state, make_step, run_once
from omnisat_jax.train.timing import Ledger, Profile
from omnisat_jax.train.warmstart import warm_start
from omnisat_jax.train.writers import MetricsWriter

STAGES = ("prepare", "pretrain", "finetune", "evaluate")
PREPARATION = 24 * 3600.0  # seconds that other hosts wait for the records
WAITING = 0.05  # share of a stage spent waiting for data above which the user is told
log = logging.getLogger(__name__)


def run(
    config: schema.ExperimentConfig, *, folder, stage: str, console: Console, accept_new_data: bool = False, profile=None
) -> dict | None:
    """Runs the stages up to and including `stage` that are not finished yet ("all": every one).

    With a probe there is no fine-tuning: the frozen tokens of pre-training are scored.

    Args:
      accept_new_data: a run that was started on other data goes on instead of being refused.
      profile: (start, stop) steps of each stage to trace into <folder>/profile, or None.

    Returns:
      The results of the evaluation, if it is among the stages.

    Raises:
      UserError: with a message for the user.
    """
    folder = pathlib.Path(folder)
    workdir.check_place(folder)
    flat = schema.flatten(config)
    hosts.agree(folder, flat)
    with workdir.held(folder):
        with hosts.leader_first("claim"):
            changes = workdir.claim(folder, flat)
        with hosts.leader_first("prepare", timeout=PREPARATION):
            records = Records(prepare(config.data, console))
        setting = make_run_context(config, folder, console, records, accept_new_data, profile, changes)
        announce(console, records, setting.split, setting.input_spec)
        return _stages(setting, STAGES if stage == "all" else STAGES[: STAGES.index(stage) + 1])


def _stages(s: RunContext, wanted) -> dict | None:
    """Runs what of the wanted stages is not finished."""
    probing = s.config.eval.probe != "none"
    for name in ("pretrain", "finetune"):
        if name == "pretrain" and s.config.pretrain_from:
            s.console.print(f"pretrain: taken from {s.config.pretrain_from}", markup=False, highlight=False)
        elif name in wanted and getattr(s.config, name).steps and not (probing and name == "finetune"):
            _train(s, name, s.task(name))
    if "evaluate" not in wanted:
        return None
    results, why = workdir.evaluated(s.folder)
    # Every host does what the first one does.
    if not hosts.exchange("evaluated", {"done": results is not None})[0]["done"]:
        if why:
            s.console.print(f"evaluate: done again ({why})", style="yellow", markup=False, highlight=False)
        results = _probe(s) if probing else _evaluate(s)
    else:
        s.console.print("evaluate: finished before, not repeated")
        if hosts.is_leader():
            reporting.restore_reports(s.folder, results)
    tables.show(s.console, results)
    return results


def _train(s: RunContext, stage: str, task):
    """Trains one stage, or goes on where it stopped, or leaves it if it is finished."""
    settings = getattr(s.config, stage)
    done = workdir.finished(s.folder, stage) is not None
    if hosts.exchange(f"{stage} done", {"done": done})[0]["done"]:  # every host does what the first one does
        s.console.print(f"{stage}: finished before, not repeated")
        return
    s.begin()
    ledger = Ledger()
    root = run_once(lambda: jax.random.fold_in(jax.random.key(s.config.seed), STAGES.index(stage)), meshes.replicated(s.mesh))
    optimizer = make_optimizer(settings)
    sharding = meshes.batch_sharding(s.mesh)
    abstract_batch = s.input_spec.train.abstract(settings.batch_size, sharding)

    def create(key):
        sample = jax.tree.map(lambda x: jax.numpy.zeros((1, *x.shape[1:]), x.dtype), abstract_batch)
        return create_state(task, optimizer, key, sample)

    with ledger.during("start"):
        shapes = jax.eval_shape(create, root)
    places = s.place(shapes)
    abstract = abstract_like(shapes, places)
    checkpoints = s.checkpoints(stage)
    try:
        with ledger.during("restore"):
            first, state = checkpoints.restore_newest(abstract)
        if first:
            s.console.print(f"{stage}: goes on after step {first}")
        else:
            with ledger.during("start"):
                state = run_once(create, places, root)
            if stage == "finetune" and s.config.pretrain.steps:
                with ledger.during("restore"):
                    params, report = warm_start(state.params, _trained(s, "pretrain").params)
                s.console.print(f"from pre-training: {report}", highlight=False)
                state = state.replace(params=params)
            log.debug("%s, where everything lies:\n%s", stage, rules.describe(shapes, places))
            log.info("%s parameters:\n%s", stage, parameter_overview.get_parameter_overview(state.params))
            count = sum(x.size for x in jax.tree.leaves(state.params))
            s.console.print(f"{stage}: {count:,} parameters, {settings.steps} steps of {settings.batch_size} tiles")
        with s.console.status("compiling", spinner="dots"), ledger.during("compile"):
            traced = jax.jit(make_step(task, optimizer), donate_argnums=0, out_shardings=(places, None)).trace(
                abstract, abstract_batch, root
            )
            compiled, flops = traced.lower().compile(), program_flops(traced.jaxpr)

        def step(state, batch):
            return compiled(state, batch, root)

        _loop(s, stage, task, state, first, step, flops, checkpoints, abstract.params, ledger)
        with ledger.during("save"):
            checkpoints.wait()
        s.finish(stage, checkpoints)
    except BaseException:
        with contextlib.suppress(UserError):  # report the first failure
            checkpoints.close()
        with contextlib.suppress(UserError):
            s.start.note_time(stage, ledger.summary())
        raise
    checkpoints.close()
    s.start.note_time(stage, ledger.summary())
    _tell_time(s, stage, ledger)
    hosts.wait(f"{stage} is done")


def _trained(s: RunContext, stage: str) -> Trained:
    """What a finished stage hands on; one whose last checkpoint is lost is trained again from an older one."""
    try:
        return s.trained(stage)
    except LostStepError as lost:
        if not lost.again:
            raise
        s.console.print(str(lost), style="yellow", markup=False, highlight=False)
        workdir.unmark(s.folder, stage)
        hosts.wait(f"{stage} is not done")
        _train(s, stage, s.task(stage))
        return s.trained(stage)


def _tell_time(s: RunContext, stage, ledger):
    summary = ledger.summary()
    total = summary.pop("total")
    parts = ", ".join(
        f"{cause} {seconds:.0f}" for cause, seconds in sorted(summary.items(), key=lambda item: -item[1]) if seconds >= 0.5
    )
    s.console.print(f"{stage}: {total:.0f} s ({parts})", highlight=False)
    if ledger.waiting() > WAITING:
        s.console.print(
            f"{stage}: the device waited for data {100 * ledger.waiting():.0f} % of the time; more data.threads, a larger "
            "data.buffer or a faster disk under data.cache_dir may help",
            style="yellow",
        )


def _loop(s: RunContext, stage, task, state, first, step, flops, checkpoints, abstract_params, ledger):
    settings = getattr(s.config, stage)
    sharding = meshes.batch_sharding(s.mesh)
    dataset = pipeline.training(
        s.records.source(s.split.train, s.config.data.label_share if stage == "finetune" else 1.0, s.config.seed),
        s.make_batch(training=True, void_parcels=s.void_parcels),
        seed=s.config.seed,
        batch_size=settings.batch_size,
        rows=meshes.local_rows(s.mesh, settings.batch_size),
        options=grain.ReadOptions(num_threads=s.config.data.threads, prefetch_buffer_size=s.config.data.buffer),
    )
    validate = None
    if s.split.validation:
        subsets = s.masks([s.names])
        compiled = []
        monitored = stage == "pretrain" and s.config.eval.monitor_tiles

        def validate(params, step):
            if not compiled:
                compiled.append(s.compile_evaluation(task, abstract_params, 1))
                compiled.append(Monitor(s, abstract_params) if monitored else lambda params, step: {})
            batches = s.evaluation_batches(s.split.validation)
            scores = evaluate(compiled[0], params, batches, subsets, task.scores(s.records.tile_ids), sharding)[0] | compiled[1](params, step)
            _warn(s, stage, scores)
            return {key: value for key, value in scores.items() if isinstance(value, float)}

    writer = MetricsWriter(s.folder, stage, after_step=first)

    def save(step, state, value):
        writer.sync()
        checkpoints.save(step, state, value)

    profile = Profile(s.folder / "profile" / stage, s.profile)
    with display.progress(s.console, stage, settings.steps, first) as show, hosts.preemption() as stop:
        try:
            use = LoopHooks(
                step=step,
                batches=device.prefetch(pipeline.start_at(dataset, first), sharding),
                validate=validate,
                rank=lambda scores: scores[task.best] if task.higher else -scores[task.best],
                save=save,
                write=writer.write,
                show=show,
                stop=stop,
                ledger=ledger,
                profile=profile,
                flops=flops,
                peak=s.mesh.size * PEAKS.get(jax.devices()[0].device_kind, 0.0),
                tiles_of=s.tiles_of,
            )
            return run_loop(state, first, settings, s.config.nonfinite_budget, use)
        finally:
            profile.close()
            writer.close()


def _warn(s: RunContext, stage, scores):
    """Says what the monitors of pre-training show to be going wrong."""
    if scores.get("effective_rank", COLLAPSED) < COLLAPSED:
        s.console.print(
            f"{stage}: the embedding has collapsed to about {scores['effective_rank']:.1f} directions; lower the learning rate, "
            "raise contrastive.temperature or the batch size",
            style="yellow",
        )
    if scores.get("position_r2", 0.0) > SHORTCUT:
        s.console.print(
            f"{stage}: the embedding encodes the position of a patch in its tile (R² {scores['place']:.2f}), which says nothing about the "
            "ground; set contrastive.roll=True",
            style="yellow",
        )


def _evaluate(s: RunContext) -> dict:
    """Scores the fine-tuned model on the test parts with every non-empty subset of modalities."""
    if not s.config.finetune.steps:
        raise schema.ConfigError(
            "finetune.steps is 0: there is no fine-tuned model to evaluate; use --stage=pretrain, or --config.eval.probe=linear"
        )
    s.begin()
    task = s.task("finetune")
    trained = _trained(s, "finetune")
    params = trained.params
    subsets = all_subsets(s.names)
    with s.console.status("compiling", spinner="dots"):
        compiled = s.compile_evaluation(task, abstract_like(params, s.place(params)), len(subsets))
    scores = task.scores(s.records.tile_ids)
    rows = meshes.local_rows(s.mesh, s.config.eval.batch_size)
    panels = reporting.PanelCollector(s.config.eval.panels, subsets, s.records.tile_ids, rows)
    batches, sharding = s.evaluation_batches(s.split.test), meshes.batch_sharding(s.mesh)
    tiles = reporting.TileCollector(s.records.tile_ids)

    def watch(host, result):
        panels(host, result)
        tiles(result)

    values = evaluate(compiled, params, batches, s.masks(subsets), scores, sharding, watch=watch)
    results = {
        "name": s.config.name,
        "task": s.config.task,
        "protocol": reporting.protocol(s.config, s.records, s.split, s.input_spec, _checkpoint(trained)),
        "subsets": reporting.entries(subsets, values, scores),
    }
    whole = jax.device_get(jax.jit(lambda x: x, out_shardings=meshes.replicated(s.mesh))(params))
    if hosts.is_leader():
        tiles.save(s.folder / "tiles.npz")
        save_model(
            s.folder / "model",
            whole,
            config=s.config,
            modalities=s.names,
            classes=s.input_spec.classes,
            label_patch=s.input_spec.label_patch,
            statistics=s.statistics,
        )
        reporting.write_results(s.folder, results, panels, s.records)
        html.write(s.folder)
    workdir.mark_evaluated(s.folder, _checkpoint(trained), model=True)
    hosts.wait("evaluate is done")
    s.console.print(f"written to {s.folder}: report.html, results.json, results.md, pictures, model/")
    return results


def _probe(s: RunContext) -> dict:
    """Scores the frozen pre-trained tokens on the test parts, and those of random weights as the floor."""
    s.begin()
    trained = _trained(s, "pretrain") if s.config.pretrain.steps else None
    checkpoint = _checkpoint(trained)
    protocol = reporting.protocol(s.config, s.records, s.split, s.input_spec, checkpoint)
    scores = probe(s, trained and trained.params)
    results = {"name": s.config.name, "task": s.config.task, "protocol": protocol} | scores
    if hosts.is_leader():
        reporting.write_results(s.folder, results, None, s.records)
        html.write(s.folder)
    workdir.mark_evaluated(s.folder, checkpoint, model=False)
    hosts.wait("evaluate is done")
    s.console.print(f"written to {s.folder}: report.html, results.json, results.md", markup=False, highlight=False)
    return results


def _checkpoint(trained: Trained | None) -> dict:
    """What results say of the checkpoint that they come from; None are random weights."""
    if trained is None:
        return {"checkpoint": 0, "checkpoint_is": "random", "checkpoint_checksum": None}
    kind = "best" if trained.best else "last"
    return {"checkpoint": trained.step, "checkpoint_is": kind, "checkpoint_checksum": trained.checksum}
