"""The task of a stage, from its configuration."""

import jax

from omnisat_jax.config import schema
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.tasks.base import LabelInfo, Task
from omnisat_jax.tasks.finetune import Classify, Segment
from omnisat_jax.tasks.pretrain import Pretrain
from omnisat_jax.tasks.terms.registry import make_terms
from omnisat_jax.types import Statistics


def make_task(
    stage: str,
    config: schema.ExperimentConfig,
    model: MultimodalModel,
    statistics: Statistics,
    labels: LabelInfo,
    mesh: jax.sharding.Mesh | None = None,
) -> Task:
    """The task of a stage.

    Args:
      stage: "pretrain" or "finetune".
      config: of the experiment.
      model: see `models.registry.make_model`; for "pretrain" a PretrainableModel.
      statistics: {modality: {"mean" (C,), "std" (C,)}} of the training tiles.
      labels: of the dataset; used by "finetune".
      mesh: devices over which the contrastive loss runs as a ring, if the configuration asks for it; None = dense.
    """
    stage_config = getattr(config, stage)
    shared = {"modality_dropout": stage_config.modality_dropout, "num_microbatches": stage_config.num_microbatches}
    if stage == "pretrain":
        return Pretrain(model, statistics, make_terms(config, model.specs, mesh), **shared)  # pyright: ignore[reportArgumentType]
    if config.task == "segment":
        return Segment(
            model,
            statistics,
            labels,
            dice_weight=config.segmentation.dice_weight,
            label_smoothing=config.segmentation.label_smoothing,
            unimodal_weight=config.segmentation.unimodal_weight,
            **shared,
        )
    return Classify(model, statistics, labels, threshold=config.eval.threshold, **shared)
