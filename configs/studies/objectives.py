"""What pre-training optimises: granularity, scope and temperature of the contrast, reconstruction beside it or instead.

Tiles are contrasted with the others of their step, and the demo has two in a step; to tell scopes and tiles apart there, add
--study.changes="'pretrain.steps=400','pretrain.batch_size=4'".
"""

from configs.studies import base


def get_config():
    s = base.study("objectives", baseline="patch")
    base.add(s, "patch", "")
    base.add(s, "no_roll", "", "contrast.roll=False")
    base.add(s, "jitter", "", "contrast.jitter=0.2", "contrast.jitter_days=10.0")
    base.add(s, "tile", "", "contrast.granularity=tile")
    base.add(s, "patch_and_tile", "", "contrast.granularity=patch+tile")
    base.add(s, "group", "", "contrast.scope=group:2")
    base.add(s, "cold", "", "contrast.temperature=0.05")
    base.add(s, "warm", "", "contrast.temperature=0.3")
    base.add(s, "masked", "masked")
    base.add(s, "only_reconstruction", "masked", "contrast.weight=0.0")
    base.add(s, "no_pretrain", "", base.NO_PRETRAIN)
    return s
