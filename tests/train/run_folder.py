"""A folder in which a run has started, with a small configuration."""

import json

from omnisat_jax.config import versions
from omnisat_jax.train.provenance import Start
from omnisat_jax.train.workdir import claim, held

FLAT = {
    "seed": 0, "data.threads": 2, "data.raw_dir": "/a", "pretrain.steps": 4, "finetune.steps": 8, "finetune.eval_every": 2, "eval.panels": 4,
    "eval.threshold": 0.5, "pretrain_from": "runs/x", "model.utae.encoder_widths": [8, 12],
} | versions.ADDED  # fmt: skip
DATA = {"fingerprint": "abc", "source": "/a"}


def begin(folder, data=DATA, flat=FLAT, precision="float32", **how):
    """A start of a run in a folder that is held or may be."""
    changes = claim(folder, flat)
    how = {"computing": {"mesh": {"data": 1}, "precision": precision}, "accept_new_data": False} | how
    return Start(folder, flat=flat, data=data, changes=changes, **how)


def start_run(folder):
    """Starts a run in a folder, and returns the folder."""
    with held(folder):
        begin(folder).begin()
    return folder


def read(path):
    """The content of a JSON file."""
    return json.loads(path.read_text())
