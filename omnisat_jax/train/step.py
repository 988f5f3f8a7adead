"""The training step: a pure function of (state, batch, root key), the same for every task."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from omnisat_jax.ops.random import Streams
from omnisat_jax.optim.optimizer import averaged
from omnisat_jax.parallel.compilation import options_for, unoptimised
from omnisat_jax.tasks.base import Task
from omnisat_jax.types import Batch, PyTree

TrainStep = Callable[["TrainState", Batch, jax.Array], tuple["TrainState", dict[str, jax.Array]]]


@flax.struct.dataclass
class TrainState:
    """Everything that changes from step to step.

    Attributes:
      step: () int32, steps taken, including skipped ones.
      skipped: () int32, steps whose update was left out because the loss or the gradient was not finite.
      params: model parameters, float32.
      opt_state: state of the optimizer.
    """

    step: jax.Array
    skipped: jax.Array
    params: Any
    opt_state: optax.OptState

    @property
    def evaluated(self) -> Any:
        """The parameters that are evaluated and handed on: their moving average, if the optimizer keeps one."""
        average = averaged(self.opt_state)
        return self.params if average is None else average


def create_state(task: Task, optimizer: optax.GradientTransformation, key: jax.Array, batch: Batch) -> TrainState:
    """Draws the state before the first step.

    Args:
      task: whose parameters are drawn.
      optimizer: whose state is initialized.
      key: () typed random key.
      batch: of the form that the task takes; its values are not used.
    """
    params = task.init(key, batch)
    zero = jnp.zeros((), jnp.int32)
    return TrainState(step=zero, skipped=zero, params=params, opt_state=optimizer.init(params))


def run_once(function: Callable[..., Any], shardings: PyTree, *arguments: Any) -> Any:
    """Compiles `function`, calls it once and places the result by `shardings`.

    For programs that run only once, such as the one that draws the initial parameters: on CPUs they are compiled without optimization.
    """
    platform = jax.default_backend()
    options = unoptimised() if platform == "cpu" else options_for(platform)
    return jax.jit(function, out_shardings=shardings).lower(*arguments).compile(compiler_options=options)(*arguments)


def make_step(task: Task, optimizer: optax.GradientTransformation) -> TrainStep:
    """Builds the training step of a task.

    Args:
      task: what is optimized.
      optimizer: turns gradients into updates.

    Returns:
      A pure function (state, batch, root) -> (state, metrics), named `task.step_name`. root is a typed random key, () and the same at every
      step; all draws depend on it and on state.step only. It is an argument and not a constant, so one compiled program serves every seed.
      A step whose loss or gradient norm is not finite changes nothing but the two counters. metrics are float32 scalars, among them "loss",
      "grad_norm" and "finite" (0 or 1).
    """

    def step(state: TrainState, batch: Batch, root: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        streams = Streams(root, state.step)
        (loss, metrics), grads = jax.value_and_grad(task.loss, has_aux=True)(state.params, batch, streams)
        norm = optax.global_norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)

        def choose(new: PyTree, old: PyTree) -> PyTree:
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
