"""What a finished run says about its model, and the folder in which it leaves it."""

import pathlib
from collections.abc import Sequence
from typing import Any

from omnisat_jax.experiment.context import RunContext
from omnisat_jax.inference.model_info import Legend, ModelInfo, Provenance, SensorInfo, SubsetScores
from omnisat_jax.inference.model_saving import save_model
from omnisat_jax.records.info import ModalityInfo
from omnisat_jax.report import model_card, tables
from omnisat_jax.types import Params


def save(folder: pathlib.Path, params: Params, info: ModelInfo) -> None:
    """Writes a model folder with its card.

    Args:
      folder: of the model.
      params: nested names -> host arrays.
      info: see `describe`.
    """
    save_model(folder, params, info)
    model_card.write(folder, info)


def describe(context: RunContext, subsets: Sequence[dict[str, Any]], temperature: float = 1.0) -> ModelInfo:
    """Everything that a model folder says about the weights of a run.

    Args:
      context: of the run.
      subsets: the entries of results.json, see `report.results.entries`.
      temperature: that logits are divided by before they become probabilities.
    """
    records, spec = context.records, context.input_spec
    days = records.days(context.split.train)
    dates = {layout.name: layout.dates for layout in spec.evaluation.modalities}
    return ModelInfo(
        config=context.config,
        modalities=context.names,
        classes=spec.classes,
        label_patch=spec.label_patch,
        statistics=context.statistics,
        sensors={name: _sensor(records.modalities[name], days.get(name), dates[name]) for name in context.names},
        window=spec.crop,
        temperature=temperature,
        legend=_legend(context),
        provenance=_provenance(context, subsets),
    )


def _sensor(stored: ModalityInfo, days: tuple[int, int] | None, dates: int) -> SensorInfo:
    first, last = days or (None, None)
    return SensorInfo(stored.bands, stored.scale or None, stored.offset or None, first, last, dates)


def _legend(context: RunContext) -> Legend:
    """Colors and roles of the predicted classes, which lack the background where labels of tiles are derived from dense ones."""
    records, classes = context.records, context.input_spec.classes
    kept = [index for index, name in enumerate(records.classes) if name in classes]
    background = records.classes[records.background] if records.background >= 0 else ""
    return Legend(
        colours=tuple(records.colours[index] for index in kept) if records.colours else (),
        unscored=tuple(name for name in records.unscored if name in classes),
        background=classes.index(background) if background in classes else -1,
    )


def _provenance(context: RunContext, subsets: Sequence[dict[str, Any]]) -> Provenance:
    info, split, metrics = context.records.info, context.split, tables.released(context.config.task)
    return Provenance(
        dataset=info.dataset,
        fingerprint=info.fingerprint,
        citation=info.citation,
        simulated=info.simulated,
        protocol=split.protocol,
        train=split.train,
        validation=split.validation,
        test=split.test,
        metrics=metrics,
        scores=tuple(
            SubsetScores(tuple(entry["modalities"]), entry["tiles"], {key: entry["scores"].get(key) for key in metrics}) for entry in subsets
        ),
    )
