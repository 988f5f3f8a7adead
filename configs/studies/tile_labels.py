"""Labels of tiles instead of maps, as the published OmniSat is scored: the gain of pre-training for it and for the model of this project.

    python launch.py --study=configs/studies/tile_labels.py
"""

from configs.base import ConfigDict
from configs.studies import base

SOURCE = "Astruc et al. 2024, PASTIS-HD, folds 123 / 4 / 5, macro F1"


def get_config() -> ConfigDict:
    """The study."""
    s = base.study("tile_labels", baseline="published_no_pretrain")
    base.add(s, "published", "published", published=base.Published(69.9, SOURCE))
    base.add(s, "published_no_pretrain", "published", base.NO_PRETRAIN, published=base.Published(59.1, SOURCE))
    base.add(s, "omnisat", "tile_f1")
    base.add(s, "no_pretrain", "tile_f1", base.NO_PRETRAIN)
    return s
