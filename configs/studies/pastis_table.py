"""The comparison of the OmniSat claim on PASTIS: baselines, the model, its ablations."""

from configs.studies import base

FIVE = "official 5-fold, mIoU"
CLAIM = "as claimed for OmniSat's dense variant, mIoU; the authors' code has no dense head"


def get_config():
    s = base.study("pastis_table", baseline="utae")
    s.rows.utae = base.row("utae", base.NO_PRETRAIN, published=63.1, source=f"Garnot & Landrieu 2021, {FIVE}")
    s.rows.early = base.row("early", base.NO_PRETRAIN, published=65.9, source=f"Garnot et al. 2022, {FIVE}")
    s.rows.late = base.row("late", base.NO_PRETRAIN, published=66.3, source=f"Garnot et al. 2022, {FIVE}")
    s.rows.dual = base.row("dual", base.NO_PRETRAIN, published=65.2, source=CLAIM)
    s.rows.omnisat = base.row("omnisat", published=67.5, source=CLAIM)
    s.rows.omnisat_resnet = base.row("omnisat_resnet", published=67.5, source=CLAIM)
    s.rows.no_pretrain = base.row("", base.NO_PRETRAIN, published=64.1, source=CLAIM)
    s.rows.no_dropout = base.row("no_dropout", published=65.8, source=CLAIM)
    s.rows.no_s1 = base.row("no_s1", published=66.2, source=CLAIM)
    s.rows.no_spot = base.row("no_spot", published=65.9, source=CLAIM)
    s.rows.utae_s1 = base.row("utae_s1", base.NO_PRETRAIN)
    s.rows.masked = base.row("masked")
    s.rows.satclip = base.row("satclip")
    s.rows.skysense = base.row("skysense")
    return s
