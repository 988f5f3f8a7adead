"""The gain of pre-training when labels are scarce: 1 to 100 % of the labeled tiles, with pre-training and with as much more fine-tuning instead.

    python launch.py --study=configs/studies/label_efficiency.py
"""

from configs.base import ConfigDict
from configs.studies import base


def get_config() -> ConfigDict:
    """The study."""
    s = base.study("label_efficiency", baseline="equal_compute")
    s.label_shares = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
    base.add(s, "omnisat", "")
    base.add(s, "equal_compute", "equal_compute")
    return s
