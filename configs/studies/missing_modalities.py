"""The cost of each missing modality, for models trained with and without modality dropout.

    python launch.py --study=configs/studies/missing_modalities.py

The scores of all subsets are in study.json and in the results of each run.
"""

from configs.base import ConfigDict
from configs.studies import base

SUBSETS = ("", "s1a+s1d+s2", "s2+spot", "s1a+s1d+spot", "s1a+s1d", "s2", "spot")


def get_config() -> ConfigDict:
    """The study."""
    s = base.study("missing_modalities", baseline="dropout")
    for name, preset in (("dropout", ""), ("no_dropout", "no_dropout")):
        for subset in SUBSETS:
            base.add(s, f"{name}_{subset.replace('+', '_')}" if subset else name, preset, subset=subset)
    return s
