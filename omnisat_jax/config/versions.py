"""Configuration keys of earlier versions, so that their runs and model folders can still be read."""

import re
from collections.abc import Mapping
from typing import Any

from omnisat_jax.config.rules import ConfigError
from omnisat_jax.errors import printable

# Keys added since, each with the value that reproduces the earlier behavior; "modalities.*.key" stands for every modality.
ADDED: dict[str, object] = {
    "eval.calibrate": True,  # changes no score; so earlier studies go on with the present default
    "pretrain.ema_decay": 0.0,
    "finetune.ema_decay": 0.0,
    "finetune.encoder_rate": 1.0,
    "segmentation.unimodal_weight": 0.0,
    "contrastive.positives": "sum",
    "contrastive.batch_norm": False,
    "segmentation.label_smoothing": 0.0,
    "model.head.unimodal": "none",
    "model.resnet.texture_radius": 0,
    # Of an encoder that no earlier configuration names.
    "model.temporal_first.times": 36,
    "model.temporal_first.days": 420.0,
    "model.temporal_first.date_width": 16,
    "model.temporal_first.width": 128,
    "model.temporal_first.blocks": 4,
    "model.temporal_first.dropout": 0.1,
    "data.unlabelled": "refuse",
    "data.pretrain_dirs": "",
    "data.mirror_dir": "",
    "data.mirror_gb": 0.0,
    "data.pretrain_weights": [],
}
# Earlier names of keys, and of groups of keys.
RENAMED = {
    "model.assembly": "model.architecture",
    "pretrain.parts": "pretrain.num_microbatches",
    "finetune.parts": "finetune.num_microbatches",
    "contrast.granularity": "contrastive.granularities",
    "contrast.scope": "contrastive.group_size",
    "model.resnet.local_contrast": "model.resnet.texture_radius",
}
RENAMED_GROUPS = {"contrast": "contrastive"}


def _granularities(value: Any) -> Any:
    """From "patch+tile" to ["patch", "tile"]. Anything else is returned unchanged, and refused later with its key."""
    return value.split("+") if isinstance(value, str) else value


def _group_size(value: Any) -> Any:
    """From "global" or "group:K" to 0 or K tiles. Anything else is returned unchanged, and refused later with its key."""
    match = re.fullmatch("global|group:([0-9]{1,5})", value) if isinstance(value, str) else None
    return int(match[1] or 0) if match else value


def _unimodal(value: Any) -> Any:
    """From whether logits of single modalities are added to how. Anything else is returned unchanged."""
    return {True: "sum", False: "none"}[value] if isinstance(value, bool) else value


# Keys whose values were once written differently.
RESPELLED = {"contrast.granularity": _granularities, "contrast.scope": _group_size, "model.head.unimodal": _unimodal}


def upgrade(flat: Mapping[Any, Any]) -> dict[Any, Any]:
    """Converts a flat configuration of any version to the present keys and values.

    Args:
      flat: {dotted key: value}, possibly with unknown keys and impossible values, which are returned unchanged.

    Raises:
      ConfigError: a key is given under its earlier and its present name.
    """
    renamed = {}
    for key, value in flat.items():
        new = _present_name(key) if isinstance(key, str) else key
        if new in renamed or (new != key and new in flat):
            raise ConfigError(f"{printable(new)}: expected the key under one name, found it under its earlier name as well.")
        renamed[new] = RESPELLED[key](value) if key in RESPELLED else value
    names = dict.fromkeys(key.split(".")[1] for key in renamed if isinstance(key, str) and key.startswith("modalities."))
    added = {
        key.replace("*", name): value
        for key, value in ADDED.items()
        for name in (names if key.startswith("modalities.*.") else [""])
    }
    return {**renamed, **{key: value for key, value in added.items() if key not in renamed}}


def _present_name(key: str) -> str:
    group, dot, rest = key.partition(".")
    return RENAMED.get(key, f"{RENAMED_GROUPS.get(group, group)}{dot}{rest}")
