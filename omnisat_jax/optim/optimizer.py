"""AdamW with linear warm-up, cosine decay, gradient clipping and a mask for weight decay."""

import jax
import optax

from omnisat_jax.config import schema
from omnisat_jax.types import Params, PyTree

# Of AdamW (Loshchilov & Hutter, ICLR 2019), at the defaults of Adam.
_B1, _B2 = 0.9, 0.999


def schedule(stage_config: schema.StageConfig) -> optax.Schedule:
    """Learning rate by step: linear warm-up from 0 over at least one step, then cosine decay to 0 at the last step."""
    warmup = max(1, round(stage_config.warmup * stage_config.steps))
    return optax.warmup_cosine_decay_schedule(0.0, stage_config.learning_rate, warmup, max(stage_config.steps, warmup + 1), 0.0)


def decayed(params: Params) -> PyTree:
    """Which parameters have weight decay, as booleans: the kernels of layers. Biases, norms, queries, embeddings and temperatures have none."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: str(path[-1].key) == "kernel", params)


def make_optimizer(stage_config: schema.StageConfig) -> optax.GradientTransformation:
    """The optimizer of a stage: the global gradient norm is clipped, then AdamW updates."""
    adam = optax.adamw(schedule(stage_config), b1=_B1, b2=_B2, weight_decay=stage_config.weight_decay, mask=decayed)
    return optax.chain(optax.clip_by_global_norm(stage_config.clip), adam)
