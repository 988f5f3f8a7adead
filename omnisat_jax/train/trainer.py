"""The state of one stage: its shapes, its initial values, and the compiled step that changes it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from omnisat_jax.config import schema
from omnisat_jax.optim.optimizer import make_optimizer
from omnisat_jax.parallel import mesh as meshes, rules
from omnisat_jax.parallel.compilation import options_for
from omnisat_jax.tasks.base import Task
from omnisat_jax.train.flops import program_flops
from omnisat_jax.train.statistics import abstract, on_host, place
from omnisat_jax.train.step import TrainState, create_state, make_step, run_once
from omnisat_jax.types import Batch, PyTree, Statistics


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A training step, compiled for the devices of a mesh.

    Attributes:
      program: (state, batch, root, statistics) -> (state, metrics); donates the state.
      flops: operations of one step over all devices.
    """

    program: Callable[[TrainState, Batch, jax.Array, Statistics], tuple[TrainState, dict[str, jax.Array]]]
    flops: float


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
    """What a stage trains, on which devices. Reads and writes no files.

    Attributes:
      task: what is optimized.
      config: of the stage.
      sample: arrays or ShapeDtypeStructs of a training batch; neither its values nor its number of tiles matter.
      mesh: the devices.
      fsdp_min_size: elements below which a parameter is not cut.
      rates: {top-level module: factor of its learning rate}; see `optim.optimizer.make_optimizer`.
    """

    task: Task
    config: schema.StageConfig
    sample: Batch
    mesh: Mesh
    fsdp_min_size: int
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer of the stage."""
        return make_optimizer(self.config, self.rates)

    @functools.cached_property
    def abstract_batch(self) -> PyTree:
        """ShapeDtypeStructs of a batch, cut over the devices."""
        size, sharding = self.config.batch_size, meshes.batch_sharding(self.mesh)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype, sharding=sharding), self.sample)

    @functools.cached_property
    def abstract_root(self) -> jax.ShapeDtypeStruct:
        """The root key of all random draws, on every device."""
        return rules.abstract_like(_any_key(), meshes.replicated(self.mesh))

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """ShapeDtypeStructs of the state with their shardings; every other derivation of the shapes of a state starts here."""
        # The sharding of the key is part of its type: with that of the key that `init` gets, JAX traces `_create` once for both.
        return rules.abstract(jax.eval_shape(self._create, self.abstract_root), self.mesh, self.fsdp_min_size)

    @functools.cached_property
    def statistics(self) -> Statistics:
        """The statistics of the task, on every device: the last argument of the step."""
        return place(self.task.statistics, self.mesh)

    @property
    def state_shardings(self) -> PyTree:
        """The shardings of `abstract_state`."""
        return jax.tree.map(lambda x: x.sharding, self.abstract_state)

    def root_key(self, seed: int, stage_number: int) -> jax.Array:
        """The root key of a stage, on every device.

        Args:
          seed: of the run.
          stage_number: keeps the draws of the stages apart.
        """
        return run_once(lambda: jax.random.fold_in(jax.random.key(seed), stage_number), meshes.replicated(self.mesh))

    def init(self, root: jax.Array) -> TrainState:
        """Draws the state before the first step, placed on the devices."""
        return run_once(self._create, self.state_shardings, root)

    @functools.cached_property
    def train_step(self) -> Any:
        """The jitted step (state, batch, root, statistics) -> (state, metrics), which donates the state."""

        def step(state: TrainState, batch: Batch, root: jax.Array, statistics: Statistics) -> tuple[TrainState, dict[str, jax.Array]]:
            return make_step(self.task.with_statistics(statistics), self.optimizer)(state, batch, root)

        step.__name__ = step.__qualname__ = self.task.step_name
        return jax.jit(step, donate_argnums=0, out_shardings=(self.state_shardings, None))

    def trace_step(self) -> jax.stages.Traced:
        """The step for the shapes of its arguments, not compiled yet."""
        return self.train_step.trace(self.abstract_state, self.abstract_batch, self.abstract_root, abstract(self.task.statistics, self.mesh))

    def compile_step(self) -> CompiledStep:
        """Compiles the step for the shapes of state and batch; other shapes raise instead of compiling again."""
        traced = self.trace_step()
        platform = self.mesh.devices.flat[0].platform
        return CompiledStep(traced.lower().compile(compiler_options=options_for(platform)), program_flops(traced.jaxpr))

    @functools.cached_property
    def _create(self) -> Callable[[jax.Array], TrainState]:
        """Kept, as JAX traces the same function once, but a method anew at every use."""

        # The values of the statistics do not matter here either, and would make a program of every fold.
        neutral = {name: {"mean": np.zeros_like(s["mean"]), "std": np.ones_like(s["std"])} for name, s in on_host(self.task.statistics).items()}
        task = self.task.with_statistics(neutral)

        def create(key: jax.Array) -> TrainState:
            sample = jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), self.sample)
            return create_state(task, self.optimizer, key, sample)

        return create


def _any_key() -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jax.random.key(0))
