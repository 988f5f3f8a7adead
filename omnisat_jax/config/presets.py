"""Presets that are controls: what they promise must hold of the configuration that is run."""

from collections.abc import Mapping
from typing import Any

from omnisat_jax.config.rules import ConfigError, is_group

EQUAL_COMPUTE = "equal_compute"  # fine-tuning sees the tiles that pre-training would have seen as well
BUDGET = tuple(f"{stage}.{key}" for stage in ("pretrain", "finetune") for key in ("steps", "batch_size"))


def budget_of(config: Any) -> dict[str, Any]:
    """{dotted key: value} of the keys of a ConfigDict that say how much is trained, as far as it has them."""
    found = {}
    for key in BUDGET:
        group, _, name = key.partition(".")
        settings = config.get(group) if is_group(config) else None
        if settings is not None and is_group(settings) and name in settings:
            found[key] = settings[name]
    return found


def need_kept(preset: str, before: Mapping[str, Any], config: Any) -> None:
    """Refuses changes that undo what a preset stands for.

    Args:
      preset: that the configuration was loaded with; "" = none.
      before: `budget_of` the configuration as it was loaded.
      config: the same ConfigDict with its changes.

    Raises:
      ConfigError: the preset does not pre-train and the changes make it, or the steps of its fine-tuning follow from keys that were changed.
    """
    now = budget_of(config)
    changed = [key for key in BUDGET if before.get(key) != now.get(key)]
    if preset and "pretrain.steps" in changed and before.get("pretrain.steps") == 0:
        raise ConfigError(f"expected no change of pretrain.steps, as the preset {preset} does not pre-train, found {now['pretrain.steps']}; choose a preset that does")
    if changed and EQUAL_COMPUTE in preset.split(","):
        keys = ", ".join(f"{key}={now[key]}" for key in changed)
        raise ConfigError(
            f"expected no change of steps and batch sizes, as {EQUAL_COMPUTE} of the preset {preset} has computed its own from those of the preset, found {keys}; "
            f"for other steps leave {EQUAL_COMPUTE} out, and set pretrain.steps=0 and finetune.steps"
        )
