"""The scores of a run: of the fine-tuned model, or of frozen tokens by a probe, for every subset of modalities."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from rich.console import Console

from omnisat_jax.errors import UserError
from omnisat_jax.experiment import calibration, released
from omnisat_jax.experiment.context import RunContext
from omnisat_jax.files.working_copy import place_of
from omnisat_jax.metrics.calibration import ScalingScores, Temperature
from omnisat_jax.modalities import subsets as all_subsets
from omnisat_jax.parallel import hosts, mesh as meshes, rules
from omnisat_jax.report import html, results as reporting
from omnisat_jax.report.contributions import PARCELS, TILES, ParcelCollector, TileCollector
from omnisat_jax.tasks.finetune import Finetune
from omnisat_jax.tasks.probe import TokenReader
from omnisat_jax.train import workdir
from omnisat_jax.train.evaluator import Evaluator
from omnisat_jax.train.monitor import ProbeFitter
from omnisat_jax.train.stage_store import Trained
from omnisat_jax.train.step import run_once
from omnisat_jax.train.trainer import Trainer
from omnisat_jax.train.warmstart import warm_start
from omnisat_jax.types import Batch, Params


def score_model(
    context: RunContext,
    evaluator: Evaluator,
    trainer: Trainer,
    trained: Trained,
    console: Console,
    note_temperature: Callable[[Temperature], None],
) -> dict[str, Any]:
    """Scores the fine-tuned model on the test parts, and writes results, pictures and the model.

    With eval.calibrate a temperature is fitted to the validation parts before; it does not change the scores.

    Args:
      context: of the run.
      evaluator: of the run.
      trainer: of fine-tuning.
      trained: what fine-tuning hands on.
      console: of the user.
      note_temperature: records the fitted temperature.

    Returns:
      The content of results.json.
    """
    subsets, tile_ids = all_subsets(context.names), context.records.tile_ids
    task, params, abstract = cast(Finetune, trainer.task), trained.params, trainer.abstract_state.params
    scaling = ScalingScores() if context.config.eval.calibrate else None
    fitted = calibration.fit_to_validation(context, evaluator, task, params, abstract) if scaling else Temperature()
    temperature = fitted.value
    with console.status("compiling", spinner="dots"):
        compiled = evaluator.compile(trainer.task, abstract, subsets)
        if scaling:
            compiled = calibration.with_effect(compiled, evaluator, task, params, abstract, temperature)
    if scaling:
        note_temperature(fitted)
    scores: Any = trainer.task.scores(tile_ids)
    panels = reporting.PanelCollector(context.config.eval.panels, subsets, tile_ids, evaluator.batches.local_rows())
    dense, tiles = context.config.task == "segment", TileCollector(tile_ids)
    parcels = ParcelCollector(context.records, context.split.test, len(subsets)) if dense else None

    def watch(host: Batch, result: dict[str, Any]) -> None:
        panels(host, result)
        tiles(result)
        if parcels:
            parcels(result)
        if scaling:
            scaling.add(result["scaling"])

    values = compiled(params, evaluator.batches.evaluation(context.split.test), scores, watch)
    results = _results(context, trained)
    results["subsets"] = reporting.entries(subsets, values, scores, parcels.confusions() if parcels else (), results.get("training", ()))
    if scaling:
        results["temperature_scaling"] = calibration.entry(context, fitted, scaling)
    whole = jax.device_get(jax.jit(lambda x: x, out_shardings=meshes.replicated(context.mesh))(trained.params))
    if hosts.is_leader():
        tiles.save(context.folder / TILES)
        if parcels:
            parcels.save(context.folder / PARCELS)
        released.save(context.folder / "model", whole, released.describe(context, results["subsets"], temperature))
    _write(context, results, panels, trained)
    console.print(f"written to {place_of(context.folder)}: report.html, results.json, results.md, pictures, model/")
    return results


def score_probe(context: RunContext, evaluator: Evaluator, trained: Trained | None, console: Console) -> dict[str, Any]:
    """Fits the probe of eval.probe to frozen tokens of the training parts and scores it on the test parts.

    Args:
      context: of the run.
      evaluator: of the run.
      trained: what pre-training hands on; None without pre-training.
      console: of the user.

    Returns:
      The content of results.json: "subsets" of the pre-trained weights and "floor" of random ones; without pre-training, "subsets" of the
      random ones.
    """
    subsets, config = all_subsets(context.names), context.config
    reader = TokenReader(context.model, context.statistics)
    random = _random_params(context, reader)
    abstract = rules.abstract(random, context.mesh, config.mesh.fsdp_min_size)
    params = random if trained is None else _all_pretrained(context, random, trained, console)
    with console.status("compiling", spinner="dots"):
        read_all = evaluator.compile(reader, abstract, [context.names])
        read_each = evaluator.compile(reader, abstract, subsets)
    fitter = ProbeFitter(evaluator.batches, config.eval, dense=config.task == "segment")

    results = _results(context, trained)

    def score(params: Params) -> list[dict]:
        scores = fitter.fit(read_all, params, config.eval.probe, share=1.0)
        parcels = ParcelCollector(context.records, context.split.test, len(subsets)) if config.task == "segment" else None

        def watch(host: Batch, result: dict[str, Any]) -> None:
            if parcels:
                parcels(result | {"predicted": scores.predicted})

        values = read_each(params, evaluator.batches.evaluation(context.split.test), scores, watch)
        return reporting.entries(subsets, values, scores, parcels.confusions() if parcels else (), results.get("training", ()))

    floor = score(random)
    if trained is None:
        results["subsets"] = floor
    else:
        results |= {"subsets": score(params), "floor": floor}
    _write(context, results, None, trained)
    console.print(f"written to {place_of(context.folder)}: report.html, results.json, results.md", markup=False, highlight=False)
    return results


def _all_pretrained(context, random, trained, console):
    """The parameters of pre-training in the place of random ones, of which none may be left."""
    params, report = warm_start(random, trained.params)
    if report.fresh:
        raise UserError(
            f"eval.probe: expected pre-trained parameters of the whole model, found none of {len(report.fresh)}, such as {report.fresh[0]}, in "
            f"{context.config.pretrain_from or context.folder}: tokens would depend on random numbers. Leave out the modalities that it has not seen."
        )
    console.print(f"from pre-training: {report}", highlight=False)
    return params


def _random_params(context, reader):
    """Random parameters of everything that tokens need, on the devices."""
    sample, root = context.input_spec.evaluation.abstract(1), jax.random.key(context.config.seed)

    def create(key: jax.Array) -> Params:
        return reader.init(key, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sample))

    shapes = jax.eval_shape(reader.init, root, sample)
    return run_once(create, rules.shardings(shapes, context.mesh, context.config.mesh.fsdp_min_size), root)


def _results(context, trained):
    """Everything in results.json but the scores."""
    config, split = context.config, context.split
    protocol = reporting.protocol(config, context.records, split, context.input_spec, _checkpoint(trained))
    if run := context.pretrained:
        # The numbers of this configuration say nothing of what another run did.
        protocol["pretrain_steps"] = run.steps
        protocol["pretrain_run"] = {"dataset": run.dataset, "simulated": run.simulated, "fingerprint": run.fingerprint, "parts": list(run.parts)}
    if context.additional:
        protocol["pretrain_data"] = [
            {"folder": str(r.root), "dataset": r.info.dataset, "fingerprint": r.fingerprint, "simulated": r.info.simulated, "tiles": len(r.tile_ids)}
            for r in context.additional
        ]
    results: dict[str, Any] = {"name": config.name, "task": config.task, "protocol": protocol}
    if config.task == "segment":
        void = split.test if config.data.void_test_parcels else ()
        results["training"] = [reporting.training_labels(context.records, split.train, config.label_share, config.seed, void)]
    return results


def _checkpoint(trained: Trained | None) -> dict[str, Any]:
    """The checkpoint that results come from, as they name it; None stands for random weights."""
    if trained is None:
        return {"checkpoint": 0, "checkpoint_is": "random", "checkpoint_checksum": None}
    kind = "best" if trained.best else "last"
    return {"checkpoint": trained.step, "checkpoint_is": kind, "checkpoint_checksum": trained.checksum}


def _write(context, results, panels, trained):
    """Writes results and report, and marks the evaluation finished."""
    if hosts.is_leader():
        reporting.write_results(context.folder, results, panels, context.records)
        html.write(context.folder)
    workdir.mark_evaluated(context.folder, _checkpoint(trained), model=panels is not None)
    hosts.wait("evaluate is done")
