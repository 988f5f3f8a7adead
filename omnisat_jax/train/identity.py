"""Which keys of the configuration of a run may change when it continues, because its result does not depend on them (any more)."""

import dataclasses
import os
from collections.abc import Collection, Mapping
from typing import Any

from omnisat_jax.words import number_of

STAGES = ("pretrain", "finetune")
# The location of the data is not part of a run: the data themselves are compared by their fingerprint.
ANY_TIME = (
    "data.raw_dir", "data.prepared_dir", "data.cache_dir", "data.mirror_dir", "data.mirror_gb", "data.pretrain_dirs", "data.threads", "data.buffer", "data.max_bad",
    "mesh.replica", "mesh.data", "mesh.fsdp", "mesh.fsdp_min_size", "nonfinite_budget",
    *(f"{stage}.{key}" for stage in STAGES for key in ("log_every", "save_every", "keep")),
    "pretrain.eval_every",  # pre-training is judged by its last step
)  # fmt: skip
# {key: stage until whose begin it may change}. An evaluation that has not finished begins anew.
UNTIL = {
    "eval.monitor_tiles": "pretrain",
    "eval.threshold": "finetune",  # it ranks checkpoints, as does the next one
    "finetune.eval_every": "finetune",
    "eval.probe": "finetune",
    "eval.batch_size": "evaluate",
    "eval.panels": "evaluate",
    "eval.calibrate": "evaluate",
    "eval.probe_tokens": "evaluate",
    "eval.probe_neighbours": "evaluate",
}
PATHS = ("pretrain_from", "data.raw_dir", "data.prepared_dir", "data.cache_dir")
MAY_CHANGE = (
    "May change: the location of the data (data.raw_dir, data.prepared_dir, data.cache_dir, data.mirror_dir, data.mirror_gb, data.pretrain_dirs), data.threads, data.buffer, data.max_bad, mesh.*, "
    "nonfinite_budget, log_every, save_every and keep of a stage, pretrain.eval_every; more steps of a stage that has not finished; "
    "finetune.eval_every, eval.threshold and eval.probe before fine-tuning, eval.monitor_tiles before pre-training, the rest of eval.* "
    "before the evaluation."
)
ABSENT = "(absent)"


@dataclasses.dataclass(frozen=True)
class Change:
    """A key whose value has changed.

    Attributes:
      key: dotted.
      before: value at the last start, `ABSENT` where there was none.
      now: value at this start, `ABSENT` where there is none.
      allowed: whether the run may continue with it.
      note: what the user must know, or "".
    """

    key: str
    before: object
    now: object
    allowed: bool
    note: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.before!r} before, {self.now!r} now"


def changes(before: Mapping[str, Any], now: Mapping[str, Any], *, begun: Collection[str], done: Collection[str]) -> list[Change]:
    """Every key that differs.

    Args:
      before: {dotted key: plain value} of the whole configuration at the last start.
      now: the same at this start.
      begun: stages of the run that have begun, "evaluate" among them.
      done: stages that have finished.
    """
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key, ABSENT), now.get(key, ABSENT)
        if old != new and not (key in PATHS and _same_path(old, new)):
            found.append(_judge(key, old, new, begun, done))
    return found


def _judge(key, old, new, begun, done):
    stage, _, name = key.partition(".")
    if stage in STAGES and name == "steps":
        more = isinstance(old, int) and isinstance(new, int) and 0 < old < new and stage not in done
        note = (
            f"{stage} goes on with the learning rate of {number_of(new, 'step')} where it has followed that of {old}: "
            f"its result is not that of {number_of(new, 'step')} from the start"
        )
        return Change(key, old, new, more, note if more and stage in begun else "")
    stage = UNTIL.get(key)
    open_still = stage is not None and stage not in (done if stage == "evaluate" else begun)
    return Change(key, old, new, key in ANY_TIME or open_still)


def _same_path(old, new):
    texts = isinstance(old, str) and isinstance(new, str) and old and new
    return bool(texts) and os.path.abspath(old) == os.path.abspath(new)
