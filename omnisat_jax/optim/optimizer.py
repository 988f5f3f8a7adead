"""AdamW with linear warm-up, cosine decay, gradient clipping, a mask for weight decay, slower modules, and a moving average of the parameters."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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


def make_optimizer(stage_config: schema.StageConfig, rates: Mapping[str, float] | None = None) -> optax.GradientTransformation:
    """The optimizer of a stage: the global gradient norm, of frozen modules as well, is clipped, then AdamW updates.

    Args:
      stage_config: of the stage.
      rates: {top-level module: factor of its learning rate and thereby of its weight decay}; a factor of 0 freezes the module.
    """
    adam = optax.adamw(schedule(stage_config), b1=_B1, b2=_B2, weight_decay=stage_config.weight_decay, mask=decayed)
    parts = [optax.clip_by_global_norm(stage_config.clip), adam]
    if rates:
        parts.append(scale_modules(rates))
    if stage_config.ema_decay:
        parts.append(keep_average(stage_config.ema_decay, [module for module, rate in (rates or {}).items() if rate == 0]))
    return optax.chain(*parts)


def scale_modules(rates: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of some modules, by their top-level names; keeps no state."""

    def scale(updates: Any, params: Any = None) -> Any:
        del params
        return {name: optax.tree.scale(rates[name], module) if name in rates else module for name, module in updates.items()}

    return optax.stateless(scale)


class Average(NamedTuple):
    """State of `keep_average`.

    Attributes:
      average: like the parameters.
      count: () int32, updates that it has seen.
    """

    average: Any
    count: jax.Array


def keep_average(decay: float, frozen: Collection[str] = ()) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the parameters (Polyak & Juditsky, 1992) in its state; the updates pass unchanged.

    It must be the last transformation of a chain. Update n, from 0, has the decay min(decay, n / (10 + n)), so that the initial parameters
    have no part in it.

    Args:
      decay: share of the average that an update keeps, below 1.
      frozen: top-level modules that do not change. Their average is their parameters as they are, without the rounding of a mean.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Average]:
        rate = jnp.minimum(decay, state.count / (10 + state.count))
        new: Any = optax.apply_updates(params, updates)
        average: Any = jax.tree.map(lambda old, p: rate * old + (1 - rate) * p, state.average, new)
        if frozen:
            average |= {name: module for name, module in new.items() if name in frozen}
        return updates, Average(average, state.count + 1)

    return optax.GradientTransformation(lambda params: Average(params, jnp.zeros((), jnp.int32)), update)


def averaged(opt_state: optax.OptState) -> Params | None:
    """The moving average of the parameters in the state of an optimizer; None if it keeps none."""
    parts = opt_state if isinstance(opt_state, tuple) else ()
    return next((part.average for part in parts if isinstance(part, Average)), None)
