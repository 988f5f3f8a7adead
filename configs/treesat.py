"""TreeSatAI-TS: the tree genera of a tile of 60 m, from one aerial image and three Sentinel series.

    python launch.py --config=configs/treesat.py                                   a small model on simulated tiles
    python launch.py --config=configs/treesat.py --config.data.raw_dir=DIR         the same model on any folder
    python launch.py --config=configs/treesat.py:full --config.data.raw_dir=DIR    the full-size recipe
"""

from configs import base
from configs.base import ConfigDict
from omnisat_jax.errors import UserError


def get_config(preset: str = "small") -> ConfigDict:
    """The preset "small" or "full".

    Raises:
      UserError: there is no such preset.
    """
    if preset not in ("small", "full"):
        raise UserError(f"configs/treesat.py has no preset {preset!r}; it has small, full")
    config = base.base()
    config.name = f"treesat_{preset}"
    config.task = "classify"
    config.data.dataset = "treesat"
    config.data.protocol = "fixed"
    config.data.origin = "year"
    config.model.ltae.period = 367.0
    config.model.ltae.key_dim = 8
    config.modalities.s2 = base.modality(kind="series", channels=10, resolution=10.0, patch=1, encoder="patch_ltae")
    for orbit in ("s1a", "s1d"):
        config.modalities[orbit] = base.modality(kind="series", channels=2, resolution=10.0, patch=1, encoder="patch_ltae")
    config.modalities.aerial = base.modality(kind="image", channels=4, resolution=0.2, patch=50, encoder="patch_cnn")
    if preset == "small":
        base.set_small_widths(config.model)
        for name in ("s2", "s1a", "s1d"):
            config.modalities[name].dates_train = 40
        config.data.simulated.tiles = 100
        config.data.simulated.tile_size = 304
        config.pretrain.steps = 60
        config.finetune.steps = 100
        for stage in (config.pretrain, config.finetune):
            stage.batch_size = 4
            stage.eval_every = 50
            stage.save_every = 50
    else:
        for name in ("s2", "s1a", "s1d"):
            config.modalities[name].dates_train = 60
        config.pretrain.batch_size = config.finetune.batch_size = 256
    return config
