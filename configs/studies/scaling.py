"""Width of the tokens, and share of the labelled tiles."""

from configs.studies import base


def get_config():
    s = base.study("scaling", baseline="width_32")
    s.label_shares = (0.25, 0.5, 1.0)
    for width in (16, 32, 64):
        base.add(s, f"width_{width}", "", f"model.width={width}")
    return s
