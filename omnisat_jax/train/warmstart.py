"""Takes over the parameters of one stage as the start of the next, by name."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import flax.traverse_util
import jax

from omnisat_jax.errors import UserError
from omnisat_jax.types import Params
from omnisat_jax.words import number_of


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the parameters of both models.

    Attributes:
      loaded: names that both have, whose values were taken over.
      fresh: names that only the new model has.
      unused: names that only the trained one had.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{number_of(len(self.loaded), 'parameter')} taken over ({_modules(self.loaded)}); "
            f"{len(self.fresh)} start fresh ({_modules(self.fresh)}); {len(self.unused)} left behind ({_modules(self.unused)})"
        )


def warm_start(params: Params, trained: Params) -> tuple[dict[str, Any], Report]:
    """Replaces every parameter that `trained` has under the same name; the sharding of `params` is kept.

    Args:
      params: nested dict of jax.Arrays, freshly initialized.
      trained: nested dict of arrays.

    Returns:
      The new parameters, and what became of each name.

    Raises:
      UserError: a parameter of the same name has another shape, or no name is shared.
    """
    target: dict[str, Any] = flax.traverse_util.flatten_dict(params, sep="/")
    source: dict[str, Any] = flax.traverse_util.flatten_dict(trained, sep="/")
    both = [name for name in target if name in source]
    wrong = [f"{name} {source[name].shape} for {target[name].shape}" for name in both if source[name].shape != target[name].shape]
    if wrong:
        raise UserError(f"the pre-trained parameters have other shapes: {'; '.join(wrong)}")
    if not both:
        raise UserError("the pre-trained parameters share no name with this model")
    new = target | {name: jax.device_put(source[name], target[name].sharding) for name in both}
    report = Report(tuple(both), tuple(n for n in target if n not in source), tuple(n for n in source if n not in target))
    return flax.traverse_util.unflatten_dict(new, sep="/"), report


def need_trained(report: Report, rates: Mapping[str, float]) -> None:
    """Refuses to slow or freeze a module of which parameters start fresh.

    Args:
      report: of the start; the pre-training of another run may lack modules.
      rates: {top-level module: factor of its learning rate}.

    Raises:
      UserError: names the modules.
    """
    fresh = sorted({name.split("/")[0] for name in report.fresh} & rates.keys())
    if fresh:
        raise UserError(
            f"finetune.encoder_rate {rates[fresh[0]]:g}: expected pre-trained parameters of every encoder and of fusion, found none for some of "
            f"{', '.join(fresh)}, which start fresh; set finetune.encoder_rate to 1, or take the pre-training of a run with these modalities"
        )


def _modules(names: Iterable[str]) -> str:
    """The top-level modules of parameters."""
    return ", ".join(sorted({name.split("/")[0] for name in names})) or "nothing"
