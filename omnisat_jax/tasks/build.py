"""The task of a stage, from its configuration."""

from omnisat_jax.tasks.base import Task
from omnisat_jax.tasks.finetune import Classify, Segment
from omnisat_jax.tasks.pretrain import Pretrain


def make_task(stage: str, config, model, statistics, *, classes, ignore: int, unscored=(), mesh=None) -> Task:
    """What "pretrain" or "finetune" optimises.

    Args:
      config: schema.ExperimentConfig.
      model: see `models.build.make_model`.
      statistics: {modality: {"mean" (C,), "std" (C,)}} of the training tiles.
      classes: names of what is predicted.
      ignore: void label.
      unscored: classes that do not enter mean scores.
      mesh: the devices over which the contrast runs as a ring, if the configuration asks for one; None = dense.
    """
    if stage == "pretrain":
        ring = mesh if config.contrastive.implementation == "ring" else None
        return Pretrain(model, statistics, config.pretrain.modality_dropout, config.reconstruction, ring, config.pretrain.num_microbatches)
    common = (model, statistics, classes, config.finetune.modality_dropout)
    num_microbatches = config.finetune.num_microbatches
    if config.task == "segment":
        weight = config.segmentation.dice_weight
        return Segment(*common, ignore=ignore, unscored=unscored, dice_weight=weight, num_microbatches=num_microbatches)
    return Classify(*common, threshold=config.eval.threshold, num_microbatches=num_microbatches)
