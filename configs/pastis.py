"""PASTIS, PASTIS-R and PASTIS-HD: crop segmentation, 18 crops and background.

    python launch.py --config=configs/pastis.py                                    the demo, on simulated PASTIS-HD
    python launch.py --config=configs/pastis.py --config.data.raw_dir=DIR          the demo, on any small folder
    python launch.py --config=configs/pastis.py:hd --config.data.raw_dir=DIR       full PASTIS-HD: tiles of 128 px, four modalities
    python launch.py --config=configs/pastis.py:xl --config.data.raw_dir=DIR       the same with 24 blocks of width 1024 in fusion, on 8 devices or more
    python launch.py --config=configs/pastis.py:flanders --config.data.raw_dir=DIR --folds=1,2,3,4
                                                     a few tiles of S2 and S1 from several seasons, leave one fold out

A size (demo, hd, xl or flanders), a row and any ablations are joined by commas, each optional: configs/pastis.py:hd,omnisat,no_s1.

Rows, the methods that OmniSat is compared with:
  utae, utae_s1            U-TAE on S2, or on ascending S1
  early, late, dual        U-TAE on S2 and both orbits of S1: stacked bands | stacked feature maps | one encoder per series and a shared decoder
  omnisat, omnisat_resnet  OmniSat with a ViT or a ResNet on SPOT
  published                the published OmniSat: patch encoders, masked reconstruction, tile classification (protocol tile_f1)
  satclip                  OmniSat whose tile embedding is aligned with the location of the tile (compact, after SatCLIP)
  skysense                 factorized encoders, contrastive losses on pixels, patches and tiles, no modality dropout (compact, after SkySense)
Ablations: no_pretrain, equal_compute (no pre-training, and as many more tiles in fine-tuning), no_dropout (of modalities), no_s1, no_spot, s2_only;
masked (adds masked reconstruction to the contrastive loss); tile_f1 (labels of tiles, macro F1).
"""

import difflib
from collections.abc import Callable

from configs import base
from configs.base import ConfigDict
from omnisat_jax.errors import UserError

Change = Callable[[ConfigDict], None]  # changes a configuration in place


def get_config(preset: str = "demo") -> ConfigDict:
    """A size, a row and ablations, each optional, joined by commas: "demo", "utae", "hd,omnisat,no_pretrain".

    Raises:
      UserError: a part of the preset does not exist, or there are several sizes or rows.
    """
    parts = preset.split(",")
    unknown = [part for part in parts if part not in SIZES and part not in ROWS and part not in ABLATIONS]
    sizes, rows = [part for part in parts if part in SIZES], [part for part in parts if part in ROWS]
    if unknown or len(sizes) > 1 or len(rows) > 1:
        close = difflib.get_close_matches(unknown[0], [*SIZES, *ROWS, *ABLATIONS], n=1) if unknown else []
        found = f"{unknown[0]!r}{f', did you mean {close[0]!r}?' if close else ''}" if unknown else f"{len(sizes)} sizes and {len(rows)} rows: {preset}"
        raise UserError(
            f"configs/pastis.py: expected at most one size of {', '.join(SIZES)}, at most one row of {', '.join(ROWS)}, "
            f"and any of {', '.join(ABLATIONS)}; found {found}"
        )
    size = sizes[0] if sizes else "demo"
    changes = [*rows, *(part for part in parts if part in ABLATIONS)]
    changes.sort(key=lambda change: change == "equal_compute")  # it depends on the others
    config = base.base()
    config.name = "_".join(["pastis", size, *changes])
    config.modalities.s2 = base.modality(kind="series", channels=10, resolution=10.0, patch=4, encoder="utae")
    for orbit in ("s1a", "s1d"):
        config.modalities[orbit] = base.modality(kind="series", channels=3, resolution=10.0, patch=4, encoder="utae")
    config.modalities.spot = base.modality(kind="image", channels=3, resolution=1.0, patch=40, encoder="vit")
    SIZES[size](config)
    for change in changes:
        (ROWS | ABLATIONS)[change](config)
        if (change, size) in SIZED:
            SIZED[change, size](config)
    if len(config.modalities) == 1:
        config.contrastive.weight = 0.0
        if _is_alone(config):
            _no_pretrain(config)
    return config


def _is_alone(config: ConfigDict) -> bool:
    """Whether there is a single modality, which has nothing to be aligned with, and is not reconstructed either."""
    return len(config.modalities) == 1 and not config.reconstruction.weight


def _no_pretrain(config: ConfigDict) -> None:
    config.pretrain.steps = 0


def _equal_compute(config: ConfigDict) -> None:
    """Fine-tuning alone sees the tiles that pre-training would have seen as well.

    Raises:
      UserError: there is no pre-training before this change, so that nothing would be equal to it.
    """
    if not config.pretrain.steps or _is_alone(config):
        raise UserError("configs/pastis.py: equal_compute: expected a preset with pre-training, found one without; leave equal_compute out")
    config.finetune.steps += -(-config.pretrain.steps * config.pretrain.batch_size // config.finetune.batch_size)
    _no_pretrain(config)


def _no_dropout(config: ConfigDict) -> None:
    config.pretrain.modality_dropout = config.finetune.modality_dropout = 0.0


def _without(*names: str) -> Change:
    """Removes modalities, where they are configured."""

    def remove(config: ConfigDict) -> None:
        for name in names:
            if name in config.modalities:
                del config.modalities[name]

    return remove


def _baseline(architecture: str, *names: str) -> Change:
    """U-TAE on the named series alone, trained with labels only."""

    def change(config: ConfigDict) -> None:
        config.model.architecture = architecture
        _without(*(name for name in list(config.modalities) if name not in names))(config)
        _no_pretrain(config)
        _no_dropout(config)

    return change


def _spot_encoder(encoder: str) -> Change:
    def change(config: ConfigDict) -> None:
        config.modalities.spot.encoder = encoder

    return change


def _masked(config: ConfigDict) -> None:
    config.reconstruction.weight = 1.0


def _tile_f1(config: ConfigDict) -> None:
    config.task = "classify"
    config.data.protocol = "tile_f1"
    if config.data.crop:  # labels of tiles describe whole tiles
        config.data.crop = 0
        for stage in (config.pretrain, config.finetune):
            stage.batch_size //= 4


def _published(config: ConfigDict) -> None:
    """The published model, at the widths of the size."""
    config.model.architecture = "published"
    for name in ("s2", "s1a", "s1d"):
        config.modalities[name].encoder = "patch_ltae"
    config.modalities.spot.encoder = "patch_cnn"
    config.model.ltae.key_dim = 8
    config.model.ltae.period = 734.0
    config.contrastive.fused = False
    config.contrastive.positives = "sum"
    _no_dropout(config)
    _masked(config)
    _tile_f1(config)


def _published_hd(config: ConfigDict) -> None:
    """The fusion and the optimizer of the published model; the small sizes keep their own."""
    config.model.fusion.depth, config.model.fusion.heads = 6, 16
    config.pretrain.learning_rate, config.finetune.learning_rate = 1e-4, 2e-4
    config.pretrain.weight_decay = config.finetune.weight_decay = 0.0


def _satclip(config: ConfigDict) -> None:
    config.modalities.location = base.modality(kind="location", channels=2, resolution=40.0, patch=1, encoder="location")
    config.contrastive.granularities = ("tile",)
    config.contrastive.views = ("location",)


def _skysense(config: ConfigDict) -> None:
    config.model.architecture = "skysense"
    config.contrastive.granularities = ("pixel", "patch", "tile")
    _no_dropout(config)


ROWS: dict[str, Change] = {
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

# What a row changes in one size only.
SIZED: dict[tuple[str, str], Change] = {("published", "hd"): _published_hd}

ABLATIONS: dict[str, Change] = {
    "no_pretrain": _no_pretrain,
    "equal_compute": _equal_compute,
    "no_dropout": _no_dropout,
    "no_s1": _without("s1a", "s1d"),
    "no_spot": _without("spot"),
    "s2_only": _without("s1a", "s1d", "spot"),
    "masked": _masked,
    "tile_f1": _tile_f1,
}


def _small(config: ConfigDict) -> None:
    """Trains on two CPU cores in minutes, on any small folder."""
    base.set_small_widths(config.model)
    config.model.width = 32
    config.model.utae.encoder_widths = config.model.utae.decoder_widths = (8, 16)
    config.model.ltae.heads, config.model.ltae.width = 4, 32
    config.model.head.width = 24
    for name in ("s2", "s1a", "s1d"):
        config.modalities[name].encoder = "temporal_first"
        config.modalities[name].dates_train = 32
    # The cheapest image encoder that also gives a dense map. In a few steps it does not learn by itself to tell rows and trees apart.
    config.modalities.spot.encoder = "resnet"
    config.model.resnet.widths, config.model.resnet.texture_radius = (24, 24, 48), 2
    # A few tiles have few parcels, which the fused path would learn by heart.
    config.model.head.dropout, config.model.fusion.dropout = 0.3, 0.2
    # Eight quarters of tiles teach more than two whole ones.
    config.data.crop = 16
    config.pretrain.steps, config.pretrain.batch_size = 200, 8
    config.pretrain.learning_rate = 2e-3
    config.pretrain.eval_every, config.pretrain.save_every = 200, 100
    config.finetune.steps, config.finetune.batch_size = 700, 8
    config.finetune.learning_rate = 4e-3
    config.finetune.ema_decay = 0.98
    config.finetune.modality_dropout = 0.4
    config.finetune.eval_every = config.finetune.save_every = 350


def _demo(config: ConfigDict) -> None:
    """Two hundred thousand parameters, on simulated tiles."""
    _small(config)
    config.data.simulated.tiles = 100
    config.data.simulated.tile_size = 32


def _flanders(config: ConfigDict) -> None:
    """A few real tiles of several seasons, some of which share parcels."""
    _small(config)
    base.set_small_widths(config.model)
    config.data.crop = 0
    config.pretrain.steps, config.pretrain.batch_size = 240, 4
    config.finetune.steps, config.finetune.batch_size = 900, 2
    config.data.origin = "season"
    config.data.protocol = "leave_one_fold_out"
    config.data.void_test_parcels = True
    # Six tiles are soon known by heart, and there is no validation part to fit a temperature to.
    config.segmentation.label_smoothing = 0.1
    # A single crop can fill a tile of 320 m; a norm over the whole image would then remove what distinguishes it from others.
    config.model.norm = "pixel"


def _hd(config: ConfigDict) -> None:
    """Full PASTIS-HD, at the default widths."""
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
    config.finetune.ema_decay = 0.999


def _xl(config: ConfigDict) -> None:
    """Full PASTIS-HD, with a fusion of the size of a ViT-L (Dosovitskiy et al., ICLR 2021), cut over the devices."""
    _hd(config)
    config.model.width = 1024
    config.model.fusion.depth, config.model.fusion.heads = 24, 16
    config.model.projection.hidden = 1024
    config.mesh.fsdp = 8
    config.pretrain.learning_rate = config.finetune.learning_rate = 2e-4
    config.pretrain.warmup = config.finetune.warmup = 0.1


SIZES: dict[str, Change] = {"demo": _demo, "hd": _hd, "xl": _xl, "flanders": _flanders}
