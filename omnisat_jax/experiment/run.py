"""One run, from its configuration to its results: prepare, pre-train, fine-tune, evaluate."""

import contextlib
import pathlib
from typing import Any

from rich.console import Console

from omnisat_jax.config import schema
from omnisat_jax.experiment import scoring
from omnisat_jax.experiment.context import RunContext, RunOptions, make_run_context, open_additional
from omnisat_jax.experiment.stages import Stages
from omnisat_jax.files import working_copy
from omnisat_jax.files.addresses import CHECKPOINTED, need_bucket
from omnisat_jax.parallel import hosts
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import UNLABELLED
from omnisat_jax.report import outcome, results as reporting, tables
from omnisat_jax.report.announcement import announce, announce_additional
from omnisat_jax.train import workdir

STAGES = ("prepare", "pretrain", "finetune", "evaluate")
PREPARATION = 24 * 3600.0  # seconds that other hosts wait for the records


def run(config: schema.ExperimentConfig, options: RunOptions) -> dict[str, Any] | None:
    """Runs the stages up to and including `options.stage` that are not finished yet.

    With a probe there is no fine-tuning: the frozen tokens of pre-training are scored.

    Args:
      config: what is run.
      options: how it is started.

    Returns:
      The results of the evaluation, if it is among the stages and any tile has labels.

    Raises:
      UserError: with a message for the user.
      Preempted: the run was asked to end; the same command continues it.
    """
    workdir.check_path(options.folder)
    need_bucket(config.pretrain_from, "pretrain_from", schemes=CHECKPOINTED)
    need_bucket(config.data.raw_dir, "data.raw_dir")
    need_bucket(config.data.prepared_dir, "data.prepared_dir")
    for place in config.data.pretrain_folders:
        need_bucket(place, "data.pretrain_dirs")
    flat, console = schema.flatten(config), options.console
    hosts.check_same(options.folder, flat)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(workdir.opened(options.folder))
        stack.enter_context(workdir.held(folder))
        if config.pretrain_from:
            working_copy.pull(stack.enter_context(workdir.opened(config.pretrain_from)))
        with hosts.leader_first("claim"):
            changes = workdir.claim(folder, flat)
        with hosts.leader_first("prepare", timeout=PREPARATION):
            records = Records(options.prepare(config.data, console))
            additional = open_additional(config, console)
        context = make_run_context(config, folder, records, additional, console)
        stages = Stages(context, options, flat, changes)
        if hosts.is_leader():
            working_copy.own(folder)  # only now, as an earlier start in the same bucket ends by it
            working_copy.push(folder)
        announce(console, records, context.split, context.input_spec, clear=config.data.statistics == "clear")
        announce_additional(console, additional, config.data.pretrain_weights)
        wanted = STAGES if options.stage == "all" else STAGES[: STAGES.index(options.stage) + 1]
        if "pretrain" in wanted:
            _pretrain(stages, config, console)
        if "finetune" in wanted and config.finetune.steps and config.eval.probe == "none":
            stages.train("finetune")
        if context.split.protocol == UNLABELLED:
            console.print("no tile has labels: the run ends with pre-training")
            return None
        return _evaluate(stages, context, console) if "evaluate" in wanted else None


def _pretrain(stages: Stages, config: schema.ExperimentConfig, console: Console) -> None:
    """Pre-trains, unless another run did or the configuration asks for none."""
    if config.pretrain_from:
        console.print(f"pretrain: taken from {config.pretrain_from}", markup=False, highlight=False)
    elif config.pretrain.steps:
        stages.train("pretrain")


def _evaluate(stages: Stages, context: RunContext, console: Console) -> dict[str, Any]:
    """The results of the run, scored now or before."""
    results, why = workdir.evaluated(context.folder)
    # All hosts do what the first one does.
    done = hosts.exchange("evaluated", {"done": results is not None})[0]["done"]
    if results is None or not done:
        if why:
            console.print(f"evaluate: done again ({why})", style="yellow", markup=False, highlight=False)
        with stages.recorded_compiling("evaluate"):
            results = _score(stages, context, console)
    else:
        console.print("evaluate: finished before, not repeated")
        if context.config.eval.calibrate and context.config.eval.probe == "none" and "temperature_scaling" not in results:
            console.print(
                f"It is of a version that fitted no temperature; to fit one, delete {working_copy.place_of(context.folder / 'evaluate')} and give the same command.",
                style="yellow",
                markup=False,
                highlight=False,
            )
        if hosts.is_leader():
            reporting.restore_reports(context.folder, results)
    tables.show(console, results)
    if hosts.is_leader():
        _conclude(context.folder, results, console)
    return results


def _conclude(folder: pathlib.Path, results: dict[str, Any], console: Console) -> None:
    """The last thing that a run prints: its outcome in words, and where to look."""
    console.rule("in short")
    for sentence in outcome.sentences(folder, results):
        console.print(sentence, markup=False, highlight=False)
    picture = folder / reporting.PICTURE
    if picture.is_file():
        console.print(f"picture: {working_copy.place_of(picture)}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"report:  {working_copy.place_of(folder / 'report.html')}", markup=False, highlight=False, soft_wrap=True)


def _score(stages: Stages, context: RunContext, console: Console) -> dict[str, Any]:
    """Scores the fine-tuned model, or what pre-training has learned where a probe is asked for."""
    config = context.config
    if config.eval.probe != "none":
        stages.begin()
        trained = stages.trained("pretrain") if config.pretrain.steps else None
        return scoring.score_probe(context, stages.evaluator, trained, console)
    if not config.finetune.steps:
        raise schema.ConfigError(
            "finetune.steps is 0: there is no fine-tuned model to evaluate; use --stage=pretrain, or --config.eval.probe=linear"
        )
    stages.begin()
    trained = stages.trained("finetune")
    return scoring.score_model(context, stages.evaluator, stages.trainer("finetune"), trained, console, stages.note_temperature)
