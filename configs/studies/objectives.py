"""The objective of pre-training: granularity, group size and temperature of the contrastive loss, and reconstruction with or without it.

    python launch.py --study=configs/studies/objectives.py --study.changes="'pretrain.steps=400','pretrain.batch_size=4'"

Tiles are compared with the others of their step, of which the demo has two; with four, groups and tiles differ from the baseline.
"""

from configs.base import ConfigDict
from configs.studies import base


def get_config() -> ConfigDict:
    """The study."""
    s = base.study("objectives", baseline="patch")
    base.add(s, "patch", "")
    base.add(s, "batch_norm", "", "contrastive.batch_norm=True")
    base.add(s, "no_roll", "", "contrastive.roll=False")
    base.add(s, "jitter", "", "contrastive.jitter=0.2", "contrastive.jitter_days=10.0")
    base.add(s, "tile", "", "contrastive.granularities=('tile',)")
    base.add(s, "patch_and_tile", "", "contrastive.granularities=('patch','tile')")
    base.add(s, "group", "", "contrastive.group_size=2")
    base.add(s, "cold", "", "contrastive.temperature=0.05")
    base.add(s, "warm", "", "contrastive.temperature=0.3")
    base.add(s, "masked", "masked")
    base.add(s, "only_reconstruction", "masked", "contrastive.weight=0.0")
    base.add(s, "no_pretrain", "", base.NO_PRETRAIN)
    return s
