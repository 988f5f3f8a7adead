"""Constraints between the keys of a configuration. Errors name the keys, what was expected and what was found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omnisat_jax.config.registry import MODELS, encoders_of, encoders_with_dense_map
from omnisat_jax.config.rules import ConfigError, found, nearest
from omnisat_jax.errors import UserError
from omnisat_jax.files.addresses import CHECKPOINTED, need_bucket, need_local
from omnisat_jax.modalities import LOCATION

if TYPE_CHECKING:  # schema imports this module
    from omnisat_jax.config.schema import DataConfig, ExperimentConfig, ModelConfig
    from omnisat_jax.modalities import ModalitySpec

LARGEST_TOKEN = 1_000_000  # numbers per token and date, which encoders and decoders handle as one vector
_PLURALS = {"series": "series", "image": "images", "location": "locations"}
LEARNED_TEMPERATURE = (0.01, 1.0)  # models.heads.Temperature keeps it between these


def need(condition: Any, message: str) -> None:
    """Raises `ConfigError` with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)


def check(e: "ExperimentConfig") -> None:
    """Checks that the values of a configuration, each allowed by itself, fit together.

    Args:
      e: the configuration of an experiment.

    Raises:
      ConfigError: the experiment could not run, or would train nothing.
    """
    _check_places(e)
    _check_modalities(e.modalities)
    _check_widths(e.model)
    _check_architecture(e)
    for name in ("pretrain", "finetune"):
        stage = getattr(e, name)
        need(
            stage.batch_size % stage.num_microbatches == 0,
            f"{name}.num_microbatches must divide {name}.batch_size {stage.batch_size}, found {stage.num_microbatches}",
        )
    _check_pretraining(e)
    _check_encoder_rate(e)
    if e.pretrain.steps and not e.pretrain_from:
        check_objective(e)
    need(
        e.data.protocol != "tile_f1" or e.task == "classify",
        f"data.protocol 'tile_f1' scores labels of tiles: set task to 'classify', found {e.task!r}",
    )
    _check_pretrain_dirs(e.data)
    need(
        e.data.dataset == "flair" or not e.data.nomenclature,
        f"data.nomenclature: expected '' for data.dataset {e.data.dataset!r}, which has one set of classes, found {e.data.nomenclature!r}",
    )


def _check_places(e: "ExperimentConfig") -> None:
    """Refuses addresses where only folders of this machine work. Whether the library for an address is installed is checked when it is used."""
    try:
        need_bucket(e.data.raw_dir, "data.raw_dir", installed=False)
        need_local(e.data.cache_dir, "data.cache_dir", "choose a folder on a disk of this machine, which is fast")
        need_local(e.data.mirror_dir, "data.mirror_dir", "choose a folder on a disk of this machine, which is fast")
        need_bucket(e.pretrain_from, "pretrain_from", schemes=CHECKPOINTED, installed=False)
        need_bucket(e.data.prepared_dir, "data.prepared_dir", installed=False)
        for folder in e.data.pretrain_folders:
            need_bucket(folder, "data.pretrain_dirs", installed=False)
    except UserError as error:
        raise ConfigError(str(error)) from error


def _check_pretrain_dirs(data: "DataConfig") -> None:
    """Checks the folders that are only for pre-training, and their weights."""
    folders, weights = data.pretrain_folders, data.pretrain_weights
    need(
        all(folders) and len(set(folders)) == len(folders),
        f"data.pretrain_dirs: expected distinct folders joined by commas, found {found(data.pretrain_dirs)}",
    )
    need(
        not weights or (folders and len(weights) == 1 + len(folders)),
        f"data.pretrain_weights: expected a weight of the main data and one of each of the {len(folders)} folders of data.pretrain_dirs, "
        f"found {len(weights)}",
    )


def _check_modalities(specs: "Sequence[ModalitySpec]") -> None:
    """Checks each modality, that names are distinct file names, and that patches cover the same ground."""
    names = [spec.name.lower() for spec in specs]
    twice = [spec.name for spec in specs if names.count(spec.name.lower()) > 1]
    need(not twice, f"modalities: expected names that differ in more than the case of letters, found {', '.join(twice)}")
    for spec in specs:
        key, encoders = f"modalities.{spec.name}", encoders_of(spec.kind)
        need(
            spec.encoder in encoders,
            f"{key}.encoder of a {spec.kind} must be one of {', '.join(encoders)}, found {spec.encoder!r}",
        )
        if spec.kind == LOCATION:
            need(spec.channels == 2, f"{key}.channels of a location must be 2 (longitude and latitude), found {spec.channels}")
        else:
            need(
                spec.name.lower() != LOCATION,
                f"{key}.kind must be 'location', as this name is reserved for the location of a tile, found {spec.kind!r}",
            )
            size = spec.patch**2 * spec.channels
            need(
                size <= LARGEST_TOKEN,
                f"{key}.patch: expected patch * patch * channels of at most {LARGEST_TOKEN}, found {spec.patch} * {spec.patch} * {spec.channels} = {size}",
            )
    grounds = {spec.name: spec.ground for spec in specs if spec.kind != LOCATION}
    need(grounds, "modalities: expected at least one sensor besides the location, found none")
    low, high = min(grounds, key=lambda name: grounds[name]), max(grounds, key=lambda name: grounds[name])
    need(
        grounds[high] - grounds[low] < 1e-6 * grounds[high],
        "patch * resolution must be the same ground distance for every modality, found "
        + " and ".join(f"modalities.{name}.patch * modalities.{name}.resolution = {grounds[name]:.9g} m" for name in (low, high)),
    )


def _check_widths(model: "ModelConfig") -> None:
    """Checks that heads divide their widths, and that numbers of levels agree."""
    need(model.width % 4 == 0, f"model.width must be divisible by 4, found {model.width}")
    for key, heads in (("fusion", model.fusion.heads), ("vit", model.vit.heads)):
        need(model.width % heads == 0, f"model.{key}.heads must divide model.width {model.width}, found {heads}")
    need(
        model.ltae.width % (2 * model.ltae.heads) == 0,
        f"model.ltae.width must be divisible by 2 * model.ltae.heads, found {model.ltae.width} and {model.ltae.heads}",
    )
    need(
        len(model.utae.encoder_widths) == len(model.utae.decoder_widths),
        "model.utae.encoder_widths and model.utae.decoder_widths must have the same length, found "
        f"{model.utae.encoder_widths} and {model.utae.decoder_widths}",
    )
    need(
        model.fusion.attention != "cudnn" or model.precision != "float32",
        f"model.fusion.attention 'cudnn' computes in bfloat16: set model.precision to 'bfloat16' or 'auto', found {model.precision!r}",
    )


def _check_architecture(e: "ExperimentConfig") -> None:
    """Checks that the model can read the modalities and be trained as configured."""
    key, info = f"model.architecture {e.model.architecture!r}", MODELS[e.model.architecture]
    others = [spec.name for spec in e.modalities if spec.kind not in info.kinds]
    kinds = " and ".join(_PLURALS[kind] for kind in info.kinds)
    need(not others, f"{key} takes {kinds} only, found {', '.join(others)}")
    need(info.pretrainable or not e.pretrain.steps, f"{key} has no pre-training: set pretrain.steps to 0, found {e.pretrain.steps}")
    patches = {spec.patch for spec in e.modalities}
    need(
        not info.one_resolution or len(patches) == 1,
        f"{key} takes {kinds} of one resolution, found patches of {sorted(patches)} px",
    )
    need(
        e.task in info.tasks,
        f"{key} has no {'dense head' if e.task == 'segment' else 'head for labels of tiles'}: "
        f"set task to {' or '.join(map(repr, info.tasks))}, found {e.task!r}",
    )


def _check_pretraining(e: "ExperimentConfig") -> None:
    """Checks keys of pre-training that must fit even if it is skipped."""
    need(
        not e.contrastive.group_size or e.pretrain.batch_size % e.contrastive.group_size == 0,
        f"pretrain.batch_size {e.pretrain.batch_size} must be a multiple of contrastive.group_size {e.contrastive.group_size}",
    )
    names = [spec.name for spec in e.modalities]
    unknown = [name for name in e.contrastive.views if name not in names]
    need(
        not unknown,
        f"contrastive.views must name configured modalities, found {', '.join(unknown)}.{nearest((unknown or [''])[0], names)}",
    )
    low, high = LEARNED_TEMPERATURE
    need(
        not e.contrastive.learned_temperature or low <= e.contrastive.temperature <= high,
        f"contrastive.temperature: expected {low} to {high} if contrastive.learned_temperature is True, as these are the bounds of the learned temperature, "
        f"found {e.contrastive.temperature}",
    )
    need(
        not e.pretrain_from or e.pretrain.steps,
        "pretrain_from names a run, but pretrain.steps is 0, so nothing would be taken from it; clear pretrain_from, or set pretrain.steps to 1 or more (that run's own number counts)",
    )


def _check_encoder_rate(e: "ExperimentConfig") -> None:
    """Refuses slower encoders where nothing is pre-trained."""
    need(
        e.finetune.encoder_rate == 1 or e.pretrain.steps,
        f"finetune.encoder_rate slows what pre-training has trained, but pretrain.steps is 0: set it to 1, found {e.finetune.encoder_rate}",
    )


def check_objective(e: "ExperimentConfig") -> None:
    """Checks that pre-training has something to learn.

    Args:
      e: the configuration of an experiment; its modalities may be those that the data hold.

    Raises:
      ConfigError: its loss would be 0 at every step.
    """
    contrastive, reconstruction = e.contrastive, e.reconstruction
    weights = {name: block.weight for name, block in vars(e).items() if hasattr(block, "weight")}  # of all loss terms
    need(
        any(weights.values()),
        f"{' and '.join(f'{name}.weight' for name in weights)} are 0: pre-training has nothing to learn; set pretrain.steps to 0",
    )
    need(
        not reconstruction.weight or reconstruction.mask_ratio or e.pretrain.modality_dropout,
        "reconstruction.mask_ratio and pretrain.modality_dropout are both 0: nothing is hidden, so there is nothing to reconstruct; "
        "set reconstruction.weight to 0",
    )
    if not contrastive.weight:
        return
    viewed = [spec for spec in e.modalities if not contrastive.views or spec.name in contrastive.views]
    own = MODELS[e.model.architecture].own_encoders
    sensors = {spec.name for spec in e.modalities if spec.kind != LOCATION}
    # The fused view is compared with what it was not made from.
    fused = contrastive.fused and any(sensors - {spec.name} for spec in viewed)
    maps = [s for s in viewed if (s.kind != LOCATION if own else s.encoder in encoders_with_dense_map())]
    for granularity in contrastive.granularities:
        views = len(maps) if granularity == "pixel" else len(viewed) + fused
        what = f"modalities with a dense map ({', '.join(encoders_with_dense_map())})" if granularity == "pixel" else "views (modalities, and the fused one)"
        need(
            views >= 2,
            f"contrastive.granularities {granularity!r}: expected at least 2 {what} to align, found {views}; name more modalities, "
            "change contrastive.views or the encoders, or set pretrain.steps to 0",
        )
    need(
        "tile" not in contrastive.granularities or e.pretrain.batch_size > 1,
        "contrastive.granularities 'tile' compares the tiles of a step with each other: expected pretrain.batch_size of at least 2, "
        f"found {e.pretrain.batch_size}",
    )
