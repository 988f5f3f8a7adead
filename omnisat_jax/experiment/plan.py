"""What a run is going to do, printed before anything slow is imported: the stages, and minutes where they are known.

Imports neither JAX nor the modules that do the work.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from rich.console import Console

from omnisat_jax.config import schema
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

# Seconds of the demo on two CPU cores, measured (docs/speed.md): of everything but the steps, and per tile of a step.
# What evaluates and reports takes about as long for few tiles as for some more, as most of it is compilation.
DEMO, CORES = ("pastis_demo", "pastis_demo_no_pretrain"), 2
_FIXED = {"prepare": 15.0, "pretrain": 70.0, "finetune": 80.0, "evaluate": 35.0}
_PER_TILE = {"prepare": 0.25, "pretrain": 0.036, "finetune": 0.036}


@dataclasses.dataclass(frozen=True)
class PlannedStage:
    """One stage of a run.

    Attributes:
      name: as on the command line.
      what: it does, in words.
      minutes: it is expected to take on two CPU cores; None where that is not known.
      done: whether it was finished before.
    """

    name: str
    what: str
    minutes: float | None
    done: bool


def plan(config: schema.ExperimentConfig, folder: StrPath, last: str = "all") -> list[PlannedStage]:
    """The stages of a run in their order.

    Args:
      config: what is run.
      folder: of the run, which may hold finished stages. What is finished in a bucket is not asked for: that takes its library, and seconds.
      last: the stage after which the run ends; "all" = the evaluation.
    """
    found = []
    for name, what, tiles in _stages(config):
        known = config.name in DEMO and not (config.data.raw_dir or config.data.prepared_dir)
        minutes = (_FIXED[name] + _PER_TILE.get(name, 0.0) * tiles) / 60 if known else None
        found.append(PlannedStage(name, what, minutes, (pathlib.Path(folder) / name / "done.json").is_file()))
        if name == last:
            break
    return found


def _stages(config: schema.ExperimentConfig) -> Iterator[tuple[str, str, int]]:
    """Yields the name of each stage, what it does, and over how many tiles it goes."""
    data, sensors = config.data, ", ".join(spec.name for spec in config.modalities)
    simulated = data.simulated.tiles
    if data.prepared_dir:
        yield "prepare", f"open the records in {data.prepared_dir}", 0
    elif data.raw_dir:
        yield "prepare", f"read {data.raw_dir}, the first time only", 0
    elif not simulated:
        yield "prepare", "needs the dataset in --config.data.raw_dir", 0
    else:
        yield "prepare", f"simulate {number_of(simulated, 'tile')} with {sensors}, the first time only", simulated
    for stage, labels in (("pretrain", "without labels"), ("finetune", "with labels")):
        training: schema.StageConfig = getattr(config, stage)
        if not training.steps or (stage == "finetune" and config.eval.probe != "none"):
            continue
        if stage == "pretrain" and config.pretrain_from:
            continue
        yield stage, f"{number_of(training.steps, 'step')} of {number_of(training.batch_size, 'tile')}, {labels}", training.steps * training.batch_size
    what = "score every subset of the sensors" if config.eval.probe == "none" else f"fit a {config.eval.probe} probe and score every subset of the sensors"
    yield "evaluate", f"{what} on test tiles", 0


def show(console: Console, config: schema.ExperimentConfig, folder: StrPath, last: str = "all", folds: Sequence[str] = ()) -> None:
    """Prints the plan of a run.

    Args:
      console: of the user.
      config, folder, last: see `plan`.
      folds: that are run one after the other, each by this plan.
    """
    stages = plan(config, folder, last)
    each = f", for each of the folds {', '.join(folds)}" if folds else ""
    console.print(f"{config.name}: {number_of(len(stages), 'stage')}{each}, in {folder}", markup=False, highlight=False, soft_wrap=True)
    width = max(len(stage.what) for stage in stages)
    for stage in stages:
        time = "finished before" if stage.done else "" if stage.minutes is None else f"about {_rounded(stage.minutes):g} min"
        console.print(f"  {stage.name:<9} {stage.what:<{width}}  {time}".rstrip(), markup=False, highlight=False, soft_wrap=True)
    left = [stage.minutes for stage in stages if not stage.done]
    known = [minutes for minutes in left if minutes is not None]
    if known and len(known) == len(left):
        console.print(
            f"about {max(1, round(sum(known)))} min on {CORES} CPU cores that do nothing else; each stage shows the time left as soon as its steps run",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    elif left:
        console.print("each stage shows the time left as soon as its steps run", soft_wrap=True, highlight=False)
    console.print("Ctrl-C stops the run; the same command goes on where it stopped", soft_wrap=True, highlight=False)


def _rounded(minutes: float) -> float:
    """To half a minute below two, else to whole ones."""
    return max(0.5, round(2 * minutes) / 2) if minutes < 2 else round(minutes)
