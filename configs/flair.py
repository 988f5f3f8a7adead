"""FLAIR: land cover at 0.2 m from one aerial image (color, near infrared, height) and a Sentinel-2 series.

    python launch.py --config=configs/flair.py                                     a small model on simulated images
    python launch.py --config=configs/flair.py --config.data.raw_dir=DIR           the same model on any folder
    python launch.py --config=configs/flair.py:full --config.data.raw_dir=DIR      the full-size recipe

Ablations, joined by commas (configs/flair.py:full,s2_only): aerial_only, s2_only, no_pretrain.
Classes: --config.data.nomenclature=12 (the default: rare classes are void) | 13 (rare classes are learned as "Other", outside the mean) | 19.
"""

from configs import base
from configs.base import ConfigDict
from omnisat_jax.errors import UserError

SIZES = ("small", "full")
ABLATIONS = ("aerial_only", "s2_only", "no_pretrain")


def get_config(preset: str = "small") -> ConfigDict:
    """A size and ablations, each optional, joined by commas.

    Raises:
      UserError: a part of the preset does not exist, or there are several sizes.
    """
    parts = preset.split(",")
    sizes = [part for part in parts if part in SIZES]
    unknown = [part for part in parts if part not in SIZES + ABLATIONS]
    if unknown or len(sizes) > 1:
        found = repr(unknown[0]) if unknown else f"{len(sizes)} sizes"
        raise UserError(
            f"configs/flair.py: expected at most one of {', '.join(SIZES)} and any of {', '.join(ABLATIONS)}; found {found}"
        )
    size = sizes[0] if sizes else "small"
    config = base.base()
    config.name = "_".join(["flair", size, *(part for part in parts if part in ABLATIONS)])
    config.data.dataset = "flair"
    config.data.protocol = "fixed"
    config.data.origin = "year"
    config.model.ltae.period = 367.0
    # Tokens of 12.8 m: 64 aerial pixels, or 2 Sentinel-2 pixels, which are resampled to 6.4 m.
    config.modalities.aerial = base.modality(kind="image", channels=5, resolution=0.2, patch=64, encoder="resnet")
    config.modalities.s2 = base.modality(kind="series", channels=10, resolution=6.4, patch=2, encoder="utae")
    config.modalities.s2.dates_train = config.modalities.s2.dates_eval = 40
    if size == "small":
        base.set_small_widths(config.model)
        config.model.utae.encoder_widths = config.model.utae.decoder_widths = (16, 32)  # a crop has four Sentinel-2 pixels per side
        config.modalities.s2.dates_train = 12
        config.data.simulated.tiles = 64
        config.data.simulated.tile_size = 256
        config.data.crop = 128
        config.pretrain.steps = 100
        config.pretrain.batch_size = 8
        config.finetune.steps = 500
        config.finetune.batch_size = 4
        config.finetune.modality_dropout = 0.2
        config.eval.batch_size = 2
        for stage in (config.pretrain, config.finetune):
            stage.learning_rate = 2e-3
            stage.eval_every = 250
            stage.save_every = 100
    else:
        config.pretrain.batch_size = config.finetune.batch_size = 32
        config.pretrain.learning_rate = config.finetune.learning_rate = 5e-4
    if "aerial_only" in parts:
        del config.modalities.s2
    if "s2_only" in parts:
        del config.modalities.aerial
    if "no_pretrain" in parts or len(config.modalities) == 1:
        config.pretrain.steps = 0  # a single modality has nothing to be aligned with
    return config
