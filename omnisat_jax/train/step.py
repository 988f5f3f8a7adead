"""The training step: a pure function of (state, batch, root key), the same for every task."""

import flax.struct
import jax
import jax.numpy as jnp
import optax

from omnisat_jax.ops.random import Streams
from omnisat_jax.train.compilation import unoptimised


@flax.struct.dataclass
class TrainState:
    """Everything that changes from step to step.

    Attributes:
      step: () int32, steps taken, skipped ones included.
      skipped: () int32, steps left out because their loss or gradient was not finite.
      params: model parameters, float32.
      opt_state: of the optimizer.
    """

    step: jax.Array
    skipped: jax.Array
    params: dict
    opt_state: optax.OptState


def create_state(task, optimizer, key, batch) -> TrainState:
    """The state before step 0; jit it with out_shardings so that parameters are born where they belong."""
    params = task.init(key, batch)
    zero = jnp.zeros((), jnp.int32)
    return TrainState(step=zero, skipped=zero, params=params, opt_state=optimizer.init(params))


def run_once(function, shardings, *arguments):
    """`function(*arguments)`, compiled, its result placed as `shardings`: for what runs once, such as drawing initial parameters."""
    options = unoptimised() if jax.default_backend() == "cpu" else None
    return jax.jit(function, out_shardings=shardings).lower(*arguments).compile(compiler_options=options)(*arguments)


def make_step(task, optimizer):
    """Builds `contrastive_step(state, batch, root)` or `finetune_step(state, batch, root)`.

    Args:
      task: see `tasks.base.Task`.
      optimizer: optax transformation.

    Returns:
      A pure function (state, batch, root) -> (state, metrics). root: typed random key, () and the same at every step; the draws depend on it
      and on state.step only. It is an argument, not a constant, so that one compiled program serves every seed. A step whose loss or
      gradient norm is not finite changes nothing but the two counters. metrics: float32 scalars with "loss", "grad_norm" and "finite".
    """

    def step(state, batch, root):
        streams = Streams(root, state.step)
        (loss, metrics), grads = jax.value_and_grad(task.loss, has_aux=True)(state.params, batch, streams)
        norm = optax.global_norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)

        def choose(new, old):
            return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)

        state = TrainState(
            step=state.step + 1,
            skipped=state.skipped + (~finite).astype(jnp.int32),
            params=choose(params, state.params),
            opt_state=choose(opt_state, state.opt_state),
        )
        return state, metrics | {"loss": loss, "grad_norm": norm, "finite": finite.astype(jnp.float32)}

    step.__name__ = step.__qualname__ = task.step_name
    return step
