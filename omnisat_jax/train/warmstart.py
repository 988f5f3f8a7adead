"""Parameters of one stage as the start of the next, by name."""

import dataclasses

import flax.traverse_util
import jax

from omnisat_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Report:
    """Names of parameters: taken over, new here, left behind."""

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self):
        def rooms(names):
            return ", ".join(sorted({name.split("/")[0] for name in names})) or "nothing"

        return (
            f"{len(self.loaded)} parameters taken over ({rooms(self.loaded)}); "
            f"{len(self.fresh)} start fresh ({rooms(self.fresh)}); {len(self.unused)} left behind ({rooms(self.unused)})"
        )


def warm_start(params, trained):
    """Replaces every parameter that `trained` has under the same name.

    Returns:
      (params, Report)

    Raises:
      UserError: a parameter of the same name has another shape.
    """
    target = flax.traverse_util.flatten_dict(params, sep="/")
    source = flax.traverse_util.flatten_dict(trained, sep="/")
    both = [name for name in target if name in source]
    wrong = [f"{name} {source[name].shape} for {target[name].shape}" for name in both if source[name].shape != target[name].shape]
    if wrong:
        raise UserError(f"the pre-trained parameters have other shapes: {'; '.join(wrong)}")
    if not both:
        raise UserError("the pre-trained parameters share no name with this model")
    new = target | {name: jax.device_put(source[name], target[name].sharding) for name in both}
    report = Report(tuple(both), tuple(n for n in target if n not in source), tuple(n for n in source if n not in target))
    return flax.traverse_util.unflatten_dict(new, sep="/"), report
