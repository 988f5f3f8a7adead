"""The comparison on PASTIS: baselines, OmniSat and its ablations.

    python launch.py --study=configs/studies/pastis_table.py

With --study.size=hd --study.raw_dir=DIR on the real dataset, whose published figures the table shows.
"""

from configs.base import ConfigDict
from configs.studies import base

FIVE = "official 5-fold, mIoU"
CLAIM = "as claimed for OmniSat's dense variant, mIoU; the authors' code has no dense head"


def get_config() -> ConfigDict:
    """The study."""
    s = base.study("pastis_table", baseline="utae")
    base.add(s, "utae", "utae", base.NO_PRETRAIN, published=base.Published(63.1, f"Garnot & Landrieu 2021, {FIVE}"))
    base.add(s, "early", "early", base.NO_PRETRAIN, published=base.Published(65.9, f"Garnot et al. 2022, {FIVE}"))
    base.add(s, "late", "late", base.NO_PRETRAIN, published=base.Published(66.3, f"Garnot et al. 2022, {FIVE}"))
    base.add(s, "dual", "dual", base.NO_PRETRAIN, published=base.Published(65.2, CLAIM))
    base.add(s, "omnisat", "omnisat", published=base.Published(67.5, CLAIM))
    base.add(s, "omnisat_resnet", "omnisat_resnet", published=base.Published(67.5, CLAIM))
    base.add(s, "no_pretrain", "", base.NO_PRETRAIN, published=base.Published(64.1, CLAIM))
    base.add(s, "no_dropout", "no_dropout", published=base.Published(65.8, CLAIM))
    base.add(s, "no_s1", "no_s1", published=base.Published(66.2, CLAIM))
    base.add(s, "no_spot", "no_spot", published=base.Published(65.9, CLAIM))
    base.add(s, "s2_only", "s2_only")
    base.add(s, "utae_s1", "utae_s1", base.NO_PRETRAIN)
    base.add(s, "masked", "masked")
    base.add(s, "satclip", "satclip")
    base.add(s, "skysense", "skysense")
    return s
