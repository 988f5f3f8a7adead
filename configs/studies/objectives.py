"""What pre-training optimises: granularity, scope and temperature of the contrast, reconstruction beside it or instead."""

from configs.studies import base


def get_config():
    s = base.study("objectives", baseline="patch")
    s.rows.patch = base.row("")
    s.rows.tile = base.row("", "contrast.granularity=tile")
    s.rows.patch_and_tile = base.row("", "contrast.granularity=patch+tile")
    s.rows.group = base.row("", "contrast.scope=group:2")
    s.rows.cold = base.row("", "contrast.temperature=0.05")
    s.rows.warm = base.row("", "contrast.temperature=0.3")
    s.rows.masked = base.row("masked")
    s.rows.only_reconstruction = base.row("masked", "contrast.weight=0.0")
    s.rows.no_pretrain = base.row("", base.NO_PRETRAIN)
    return s
