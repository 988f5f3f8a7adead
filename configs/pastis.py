"""PASTIS, PASTIS-R and PASTIS-HD: crop segmentation, 18 crops + background.

configs/pastis.py           the demo: simulated PASTIS-HD, or any small folder by --config.data.raw_dir=DIR
configs/pastis.py:demo      the same
configs/pastis.py:hd        full PASTIS-HD (128 px tiles, four modalities); needs --config.data.raw_dir=DIR
configs/pastis.py:flanders  a handful of real tiles (S2 + S1, several seasons), leave one fold out

Ablations, alone (of the demo) or after a size and a comma (configs/pastis.py:hd,no_s1): no_pretrain, no_dropout (of modalities), no_s1,
no_spot, s2_only.
"""

from configs import base

SIZES = ("demo", "hd", "flanders")


def get_config(preset: str = "demo"):
    """A size, an ablation, or both, separated by a comma: "demo", "no_spot", "hd,no_pretrain"."""
    parts = preset.split(",")
    sizes = [part for part in parts if part in SIZES]
    ablations = [part for part in parts if part in ABLATIONS]
    unknown = [part for part in parts if part not in SIZES and part not in ABLATIONS]
    if unknown or len(sizes) > 1:
        found = repr(unknown[0]) if unknown else f"{len(sizes)} sizes: {', '.join(sizes)}"
        raise ValueError(f"configs/pastis.py: expected one of {', '.join(SIZES)} and any of {', '.join(ABLATIONS)}; found {found}")
    size = sizes[0] if sizes else "demo"
    config = base.base()
    config.name = "_".join(["pastis", size, *ablations])
    config.modalities.s2 = base.modality(kind="series", channels=10, resolution=10.0, patch=4, encoder="utae")
    for orbit in ("s1a", "s1d"):
        config.modalities[orbit] = base.modality(kind="series", channels=3, resolution=10.0, patch=4, encoder="utae")
    config.modalities.spot = base.modality(kind="image", channels=3, resolution=1.0, patch=40, encoder="vit")
    {"demo": _demo, "hd": _hd, "flanders": _flanders}[size](config)
    for ablation in ablations:
        ABLATIONS[ablation](config)
    return config


def _no_pretrain(config):
    config.pretrain.steps = 0


def _no_dropout(config):
    config.pretrain.modality_dropout = config.finetune.modality_dropout = 0.0


def _without(*names):
    def remove(config):
        for name in names:
            del config.modalities[name]

    return remove


ABLATIONS = {
    "no_pretrain": _no_pretrain,
    "no_dropout": _no_dropout,
    "no_s1": _without("s1a", "s1d"),
    "no_spot": _without("spot"),
    "s2_only": _without("s1a", "s1d", "spot"),
}


def _demo(config):
    base.shrink(config.model)
    for name in ("s2", "s1a", "s1d"):
        config.modalities[name].dates_train = 16
    # The cheapest pairing that still has a dense map: U-TAE on Sentinel-2, patch L-TAE on radar, a small ResNet on SPOT.
    config.modalities.s1a.encoder = config.modalities.s1d.encoder = "patch_ltae"
    config.modalities.spot.encoder = "resnet"
    config.data.simulated.tiles = 100
    config.data.simulated.tile_size = 32
    config.pretrain.steps = 150
    config.pretrain.batch_size = 4
    config.pretrain.learning_rate = 2e-3
    config.pretrain.eval_every = 75
    config.pretrain.save_every = 75
    config.finetune.steps = 900
    config.finetune.batch_size = 2  # on two cores many small steps learn more in the same minutes than few large ones
    config.finetune.learning_rate = 2e-3
    config.finetune.modality_dropout = 0.2
    config.finetune.eval_every = 300
    config.finetune.save_every = 100


def _flanders(config):
    _demo(config)
    config.data.simulated.tiles = 0
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
    config.contrast.scope = "group:2"
    config.finetune.steps = 30_000
    config.finetune.batch_size = 16
    config.finetune.learning_rate = 5e-4
