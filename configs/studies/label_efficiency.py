"""What pre-training gives when labels are scarce: 1 to 100 % of the labelled tiles, with and without it."""

from configs.studies import base


def get_config():
    s = base.study("label_efficiency", baseline="no_pretrain")
    s.label_shares = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
    base.add(s, "omnisat", "")
    base.add(s, "no_pretrain", "", base.NO_PRETRAIN)
    return s
