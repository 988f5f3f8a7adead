"""AdamW with warm-up, cosine decay, clipping and a weight-decay mask."""

import jax
import optax

from omnisat_jax.config import schema


def schedule(stage: schema.StageConfig):
    """Learning rate by step: linear warm-up from 0, then cosine to 0 at the last step."""
    warmup = max(1, round(stage.warmup * stage.steps))
    return optax.warmup_cosine_decay_schedule(0.0, stage.learning_rate, warmup, max(stage.steps, warmup + 1), 0.0)


def decayed(params):
    """Which parameters decay: matrices and kernels; no biases, norms, queries, embeddings or temperatures."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: str(path[-1].key) == "kernel", params)


def make_optimizer(stage: schema.StageConfig) -> optax.GradientTransformation:
    """The optimizer of a stage."""
    adam = optax.adamw(schedule(stage), b1=0.9, b2=0.999, weight_decay=stage.weight_decay, mask=decayed)
    return optax.chain(optax.clip_by_global_norm(stage.clip), adam)
