"""The width of the tokens, with several shares of the labeled tiles.

    python launch.py --study=configs/studies/scaling.py
"""

from configs.base import ConfigDict
from configs.studies import base


def get_config() -> ConfigDict:
    """The study."""
    s = base.study("scaling", baseline="width_32")
    s.label_shares = (0.25, 0.5, 1.0)
    for width in (16, 32, 64):
        base.add(s, f"width_{width}", "", f"model.width={width}")
    return s
