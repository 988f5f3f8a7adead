"""The comparison of the OmniSat claim on PASTIS: baselines, the model, its ablations."""

from configs.studies import base

FIVE = "official 5-fold, mIoU"
CLAIM = "as claimed for OmniSat's dense variant, mIoU; the authors' code has no dense head"


def get_config():
    s = base.study("pastis_table", baseline="utae")
    base.add(s, "utae", "utae", base.NO_PRETRAIN, published=63.1, source=f"Garnot & Landrieu 2021, {FIVE}")
    base.add(s, "early", "early", base.NO_PRETRAIN, published=65.9, source=f"Garnot et al. 2022, {FIVE}")
    base.add(s, "late", "late", base.NO_PRETRAIN, published=66.3, source=f"Garnot et al. 2022, {FIVE}")
    base.add(s, "dual", "dual", base.NO_PRETRAIN, published=65.2, source=CLAIM)
    base.add(s, "omnisat", "omnisat", published=67.5, source=CLAIM)
    base.add(s, "omnisat_resnet", "omnisat_resnet", published=67.5, source=CLAIM)
    base.add(s, "no_pretrain", "", base.NO_PRETRAIN, published=64.1, source=CLAIM)
    base.add(s, "no_dropout", "no_dropout", published=65.8, source=CLAIM)
    base.add(s, "no_s1", "no_s1", published=66.2, source=CLAIM)
    base.add(s, "no_spot", "no_spot", published=65.9, source=CLAIM)
    base.add(s, "utae_s1", "utae_s1", base.NO_PRETRAIN)
    base.add(s, "masked", "masked")
    base.add(s, "satclip", "satclip")
    base.add(s, "skysense", "skysense")
    return s
