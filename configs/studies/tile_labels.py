"""Labels of tiles instead of maps, as the published OmniSat is scored: what pre-training gives to it and to the model made here."""

from configs.studies import base

SOURCE = "Astruc et al. 2024, PASTIS-HD, folds 123 / 4 / 5, macro F1"


def get_config():
    s = base.study("tile_labels", baseline="published_no_pretrain")
    base.add(s, "published", "published", published=69.9, source=SOURCE)
    base.add(s, "published_no_pretrain", "published", base.NO_PRETRAIN, published=59.1, source=SOURCE)
    base.add(s, "omnisat", "tile_f1")
    base.add(s, "no_pretrain", "tile_f1", base.NO_PRETRAIN)
    return s
