"""What each missing modality costs, trained with and without modality dropout; the table of subsets is in study.json and in each run."""

from configs.studies import base

SUBSETS = ("", "s1a+s1d+s2", "s2+spot", "s1a+s1d+spot", "s1a+s1d", "s2", "spot")


def get_config():
    s = base.study("missing_modalities", baseline="dropout")
    for name, preset in (("dropout", ""), ("no_dropout", "no_dropout")):
        for subset in SUBSETS:
            base.add(s, f"{name}_{subset.replace('+', '_')}" if subset else name, preset, subset=subset)
    return s
