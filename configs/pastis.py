"""PASTIS, PASTIS-R and PASTIS-HD: crop segmentation, 18 crops + background.

configs/pastis.py           the demo: simulated PASTIS-HD, or any small folder by --config.data.raw_dir=DIR
configs/pastis.py:demo      the same
configs/pastis.py:hd        full PASTIS-HD (128 px tiles, four modalities); needs --config.data.raw_dir=DIR
configs/pastis.py:flanders  a handful of real tiles (S2 + S1, several seasons), leave one fold out

A size, a row and any ablations are joined by commas (configs/pastis.py:hd,omnisat,no_s1); without a size, the demo.

Rows, the methods OmniSat is compared with:
  utae, utae_s1            U-TAE on S2; on S1 ascending
  early, late, dual        U-TAE on S2 and both orbits of S1: bands side by side | dense maps side by side | a stream each, one way up
  omnisat, omnisat_resnet  OmniSat with a ViT | a ResNet on SPOT
  published                the published OmniSat: patch encoders, masked reconstruction, tile classification (protocol tile_f1)
  satclip                  OmniSat's tile embedding aligned with the tile's location (compact, after SatCLIP)
  skysense                 factorised encoders, contrast of pixels, patches and tiles, no modality dropout (compact, after SkySense)
Ablations: no_pretrain, no_dropout (of modalities), no_s1, no_spot, s2_only; masked (reconstruction beside the contrast);
tile_f1 (labels of tiles, macro F1).
"""

from configs import base
from omnisat_jax.errors import UserError

SIZES = ("demo", "hd", "flanders")


def get_config(preset: str = "demo"):
    """A size, a row and ablations, each optional, joined by commas: "demo", "utae", "hd,omnisat,no_pretrain"."""
    parts = preset.split(",")
    unknown = [part for part in parts if part not in SIZES and part not in ROWS and part not in ABLATIONS]
    sizes, rows = [part for part in parts if part in SIZES], [part for part in parts if part in ROWS]
    if unknown or len(sizes) > 1 or len(rows) > 1:
        found = repr(unknown[0]) if unknown else f"{len(sizes)} sizes and {len(rows)} rows: {preset}"
        raise UserError(
            f"configs/pastis.py: expected at most one size of {', '.join(SIZES)}, at most one row of {', '.join(ROWS)}, "
            f"and any of {', '.join(ABLATIONS)}; found {found}"
        )
    size = sizes[0] if sizes else "demo"
    changes = [*rows, *(part for part in parts if part in ABLATIONS)]
    config = base.base()
    config.name = "_".join(["pastis", size, *changes])
    config.modalities.s2 = base.modality(kind="series", channels=10, resolution=10.0, patch=4, encoder="utae")
    for orbit in ("s1a", "s1d"):
        config.modalities[orbit] = base.modality(kind="series", channels=3, resolution=10.0, patch=4, encoder="utae")
    config.modalities.spot = base.modality(kind="image", channels=3, resolution=1.0, patch=40, encoder="vit")
    {"demo": _demo, "hd": _hd, "flanders": _flanders}[size](config)
    for change in changes:
        (ROWS | ABLATIONS)[change](config)
    return config


def _no_pretrain(config):
    config.pretrain.steps = 0


def _no_dropout(config):
    config.pretrain.modality_dropout = config.finetune.modality_dropout = 0.0


def _without(*names):
    def remove(config):
        for name in names:
            if name in config.modalities:
                del config.modalities[name]

    return remove


def _baseline(assembly, *names):
    """U-TAE on the named series alone, trained with labels only."""

    def change(config):
        config.model.architecture = assembly
        _without(*(name for name in list(config.modalities) if name not in names))(config)
        _no_pretrain(config)
        _no_dropout(config)

    return change


def _spot_encoder(encoder):
    def change(config):
        config.modalities.spot.encoder = encoder

    return change


def _masked(config):
    config.reconstruction.weight = 1.0


def _tile_f1(config):
    config.task = "classify"
    config.data.protocol = "tile_f1"


def _published(config):
    config.model.architecture = "published"
    for name in ("s2", "s1a", "s1d"):
        config.modalities[name].encoder = "patch_ltae"
    config.modalities.spot.encoder = "patch_cnn"
    config.model.ltae.key_dim = 8
    config.model.ltae.period = 734.0
    config.contrastive.fused = False
    if config.model.width == 256:  # the published size and optimizer; the small sizes keep theirs
        config.model.fusion.depth, config.model.fusion.heads = 6, 16
        config.pretrain.learning_rate, config.finetune.learning_rate = 1e-4, 2e-4
        config.pretrain.weight_decay = config.finetune.weight_decay = 0.0
    _no_dropout(config)
    _masked(config)
    _tile_f1(config)


def _satclip(config):
    config.modalities.location = base.modality(kind="location", channels=2, resolution=40.0, patch=1, encoder="location")
    config.contrastive.granularities = ("tile",)
    config.contrastive.views = ("location",)


def _skysense(config):
    config.model.architecture = "skysense"
    config.contrastive.granularities = ("pixel", "patch", "tile")
    _no_dropout(config)


ROWS = {
    "utae": _baseline("late", "s2"),
    "utae_s1": _baseline("late", "s1a"),
    "early": _baseline("early", "s2", "s1a", "s1d"),
    "late": _baseline("late", "s2", "s1a", "s1d"),
    "dual": _baseline("dual", "s2", "s1a", "s1d"),
    "omnisat": _spot_encoder("vit"),
    "omnisat_resnet": _spot_encoder("resnet"),
    "published": _published,
    "satclip": _satclip,
    "skysense": _skysense,
}

ABLATIONS = {
    "no_pretrain": _no_pretrain,
    "no_dropout": _no_dropout,
    "no_s1": _without("s1a", "s1d"),
    "no_spot": _without("spot"),
    "s2_only": _without("s1a", "s1d", "spot"),
    "masked": _masked,
    "tile_f1": _tile_f1,
}


def _small(config):
    """What two cores train in minutes, on any small folder."""
    base.shrink(config.model)
    for name in ("s2", "s1a", "s1d"):
        config.modalities[name].dates_train = 16
    # The cheapest image encoder, and one with a dense map.
    config.modalities.spot.encoder = "resnet"
    config.pretrain.steps = 240
    config.pretrain.batch_size = 4
    config.pretrain.learning_rate = 2e-3
    config.pretrain.eval_every = 120
    config.pretrain.save_every = 80
    config.finetune.steps = 900
    config.finetune.batch_size = 2
    config.finetune.learning_rate = 2e-3
    config.finetune.modality_dropout = 0.2
    config.finetune.eval_every = 300
    config.finetune.save_every = 100


def _demo(config):
    """A hundred thousand parameters and few dates, on simulated tiles."""
    _small(config)
    config.model.width = 32
    config.model.utae.encoder_widths = config.model.utae.decoder_widths = (8, 16)
    config.model.ltae.heads, config.model.ltae.width = 4, 16
    config.model.resnet.widths = (8, 16, 32)
    config.model.head.width = 24
    for name in ("s2", "s1a", "s1d"):
        config.modalities[name].dates_train, config.modalities[name].dates_eval = 10, 20
    config.data.simulated.tiles = 100
    config.data.simulated.tile_size = 32
    # In the same minutes many steps of few tiles learn far more than few steps of many.
    config.pretrain.steps, config.pretrain.batch_size = 800, 2
    config.finetune.steps, config.finetune.batch_size = 2_000, 1
    config.finetune.learning_rate = 4e-3
    config.pretrain.eval_every = config.pretrain.save_every = 400
    config.finetune.eval_every = config.finetune.save_every = 500


def _flanders(config):
    _small(config)
    # A dense map of radar told nothing more on these tiles (docs/results.md), and six training tiles fill no larger model.
    config.modalities.s1a.encoder = config.modalities.s1d.encoder = "patch_ltae"
    config.data.origin = "season"
    config.data.protocol = "leave_one_fold_out"
    config.data.void_test_parcels = True
    # One crop can fill a tile of 320 m: a norm over the whole image would take away what tells it from others.
    config.model.norm = "pixel"


def _hd(config):
    config.data.protocol = "official_5fold"
    config.model.vit.stem = "conv"
    config.model.remat = True
    config.modalities.s2.dates_train = 45
    config.modalities.s1a.dates_train = 50
    config.modalities.s1d.dates_train = 50
    config.pretrain.steps = 40_000
    config.pretrain.batch_size = 16
    config.pretrain.learning_rate = 5e-4
    config.contrastive.group_size = 2
    config.finetune.steps = 30_000
    config.finetune.batch_size = 16
    config.finetune.learning_rate = 5e-4
