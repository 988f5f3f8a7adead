"""Which keys of a run's configuration may change when it goes on, because its result does not depend on them (any more)."""

import dataclasses
import os
from collections.abc import Collection

STAGES = ("pretrain", "finetune")
# Where data lie is no part of a run: what they are is compared by their fingerprint.
ANY_TIME = (
    "data.raw_dir", "data.prepared_dir", "data.cache_dir", "data.threads", "data.buffer", "data.max_bad",
    "mesh.replica", "mesh.data", "mesh.fsdp", "mesh.fsdp_min_size", "nonfinite_budget",
    *(f"{stage}.{key}" for stage in STAGES for key in ("log_every", "save_every", "keep")),
    "pretrain.eval_every",  # pre-training is judged by its last step
)  # fmt: skip
# Until a stage begins. Evaluation begins anew whenever it has not finished.
UNTIL = {
    "eval.monitor_tiles": "pretrain",
    "eval.threshold": "finetune",  # it ranks checkpoints, as does the next one
    "finetune.eval_every": "finetune",
    "eval.probe": "finetune",
    "eval.batch_size": "evaluate",
    "eval.panels": "evaluate",
    "eval.probe_tokens": "evaluate",
    "eval.probe_neighbours": "evaluate",
}
PATHS = ("pretrain_from", "data.raw_dir", "data.prepared_dir", "data.cache_dir")
MAY_CHANGE = (
    "May change: where data lie (data.raw_dir, data.prepared_dir, data.cache_dir), data.threads, data.buffer, data.max_bad, mesh.*, "
    "nonfinite_budget, log_every, save_every and keep of a stage, pretrain.eval_every; more steps of a stage that has not finished; "
    "finetune.eval_every, eval.threshold and eval.probe before fine-tuning, eval.monitor_tiles before pre-training, the rest of eval.* "
    "before the evaluation."
)
ABSENT = "(absent)"


@dataclasses.dataclass(frozen=True)
class Change:
    """One key.

    Attributes:
      key: dotted.
      before, now: values, `ABSENT` where there is none.
      allowed: whether a run may go on with it.
      note: what the user must know, or "".
    """

    key: str
    before: object
    now: object
    allowed: bool
    note: str = ""

    def __str__(self):
        return f"{self.key}: {self.before!r} before, {self.now!r} now"


def changes(before: dict, now: dict, *, begun: Collection[str], done: Collection[str]) -> list[Change]:
    """Every key that differs.

    Args:
      before, now: {dotted key: plain value} of whole configurations.
      begun, done: stages of the run, "evaluate" among them.
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
            f"{stage} goes on with the learning rate of {new} steps where it has followed that of {old}: "
            f"its result is not that of {new} steps from the start"
        )
        return Change(key, old, new, more, note if more and stage in begun else "")
    stage = UNTIL.get(key)
    open_still = stage is not None and stage not in (done if stage == "evaluate" else begun)
    return Change(key, old, new, key in ANY_TIME or open_still)


def _same_path(old, new):
    texts = isinstance(old, str) and isinstance(new, str) and old and new
    return bool(texts) and os.path.abspath(old) == os.path.abspath(new)
