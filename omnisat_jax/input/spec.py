"""What the model reads: the modalities that configuration and data have in common, their patch grid, and static shapes."""

import dataclasses
import types
from collections.abc import Mapping, Sequence

from omnisat_jax.batch import BatchLayout, ModalityLayout
from omnisat_jax.config import schema
from omnisat_jax.config.constraints import check_objective
from omnisat_jax.config.rules import ConfigError
from omnisat_jax.errors import UserError
from omnisat_jax.input.additional import SAME_RESOLUTION, additional_grid
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.records.info import DatasetInfo
from omnisat_jax.words import number_of


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """The input of a model, resolved from a configuration and a dataset.

    Attributes:
      specs: the modalities that both have, in the order of the configuration.
      dropped: configured modalities that the data do not have.
      unused: modalities of the data that are not configured.
      grid: tokens per tile side.
      crop: tokens per side of a training crop.
      label_patch: label pixels per token side; 0 for labels of tiles.
      classes: names of the predicted classes: those of the data, without the background if labels of tiles are derived from dense labels.
      train: layout of the batches of fine-tuning.
      pretrain: layout of the batches of pre-training.
      pretrain_crop: tokens per side of an example of pre-training: `crop`, or fewer if additional records have smaller tiles.
      additional_grids: tokens per tile side of each of the additional records.
      evaluation: layout of evaluation batches.
    """

    specs: tuple[ModalitySpec, ...]
    dropped: tuple[str, ...]
    unused: tuple[str, ...]
    grid: int
    crop: int
    label_patch: int
    classes: tuple[str, ...]
    train: BatchLayout
    pretrain: BatchLayout
    pretrain_crop: int
    additional_grids: tuple[int, ...]
    evaluation: BatchLayout

    @property
    def ground(self) -> float:
        """Side of the ground that a token describes, m."""
        return next(spec.ground for spec in self.specs if spec.kind != "location")

    @property
    def side(self) -> float:
        """Side of a tile on the ground, m."""
        return self.grid * self.ground


def resolve_input_spec(
    config: schema.ExperimentConfig, info: DatasetInfo, additional: Mapping[str, DatasetInfo] = types.MappingProxyType({})
) -> InputSpec:
    """Matches the configured modalities with those of the data.

    Args:
      config: the experiment.
      info: the description of the data.
      additional: {folder: description} of the records that only pre-training uses.

    Raises:
      UserError: a modality has another kind or number of bands, patches do not divide a tile, or there is no modality in
        common, or only one, which has nothing to be aligned with in pre-training.
    """
    if config.task == "segment" != info.task:
        # Labels of tiles can be derived from dense labels, but not the reverse.
        raise UserError(f"task {config.task!r}, but {info.source} has labels for {info.task!r}: set --config.task={info.task}")
    specs = tuple(spec for spec in config.modalities if spec.name in info.modalities)
    if not specs:
        raise UserError(
            f"none of the configured modalities ({', '.join(s.name for s in config.modalities)}) is in the data "
            f"({', '.join(info.modalities)})"
        )
    grid = _token_grid(specs, info)
    if config.pretrain.steps and not config.pretrain_from and len(specs) < len(config.modalities):
        try:
            check_objective(dataclasses.replace(config, modalities=specs))
        except ConfigError as error:
            raise UserError(f"of the configured modalities, the data hold {', '.join(spec.name for spec in specs)} only; {error}") from error
    classes = info.classes
    if config.task != info.task:
        classes = tuple(name for index, name in enumerate(classes) if index != info.background)
    crop, label_patch, labels, cropped = grid, 0, (len(classes),), (len(classes),)
    if config.task == "segment":
        crop, label_patch = _label_grid(config, info, grid)
        labels, cropped = (info.label_side,) * 2, (crop * label_patch,) * 2
    elif config.data.crop:
        raise UserError("data.crop is only for dense labels, as labels of tiles describe the whole tile; set it to 0")
    dtype = "uint8" if config.task == "segment" else "float32"

    def layout(patches: int, shape: tuple[int, ...], dates: str) -> BatchLayout:
        return BatchLayout(tuple(_layout(spec, info, patches, getattr(spec, dates)) for spec in specs), shape, dtype)

    grids = tuple(additional_grid(folder, other, specs, info) for folder, other in additional.items())
    pretrain_crop = min(crop, *grids) if grids else crop
    pretrained = (pretrain_crop * label_patch,) * 2 if config.task == "segment" else labels
    names = {spec.name for spec in specs}
    return InputSpec(
        specs=specs,
        dropped=tuple(s.name for s in config.modalities if s.name not in names),
        unused=tuple(name for name, m in info.modalities.items() if name not in names and m.kind != "location"),
        grid=grid,
        crop=crop,
        label_patch=label_patch,
        classes=classes,
        train=layout(crop, cropped, "dates_train"),
        pretrain=layout(pretrain_crop, pretrained, "dates_train"),
        pretrain_crop=pretrain_crop,
        additional_grids=grids,
        evaluation=layout(grid, labels, "dates_eval"),
    )


def _token_grid(specs: Sequence[ModalitySpec], info: DatasetInfo) -> int:
    """Tokens per tile side, the same for all sensors."""
    grids = {}
    for spec in specs:
        stored, where = info.modalities[spec.name], f"modalities.{spec.name}"
        if (spec.kind, spec.channels) != (stored.kind, stored.shape[-1]):
            raise UserError(
                f"{where}: configured as {spec.kind} of {number_of(spec.channels, 'channel')}, stored as {stored.kind} of {stored.shape[-1]}"
            )
        if spec.kind == "location":
            continue
        if stored.resolution and abs(stored.resolution - spec.resolution) > SAME_RESOLUTION * spec.resolution:
            raise UserError(
                f"{where}: configured with pixels of {spec.resolution:g} m, stored with pixels of {stored.resolution:.4g} m on the ground; set "
                f"{where}.resolution={stored.resolution:.4g}, or cut the tiles from files of other pixels"
            )
        if stored.shape[0] != stored.shape[1] or stored.shape[0] % spec.patch:
            raise UserError(
                f"{where}: tiles of {stored.shape[0]}x{stored.shape[1]} px cannot be divided into patches of {spec.patch} px; "
                f"change {where}.patch"
            )
        grids[spec.name] = stored.shape[0] // spec.patch
    if not grids:
        raise UserError(
            f"of the configured modalities, the data have only {', '.join(s.name for s in specs)}: at least one sensor is needed"
        )
    if len(set(grids.values())) > 1:
        raise UserError(f"modalities must have the same patch grid, found patches per side: {grids}; check resolution and patch")
    return next(iter(grids.values()))


def _label_grid(config: schema.ExperimentConfig, info: DatasetInfo, grid: int) -> tuple[int, int]:
    """Tokens per side of a training crop, and label pixels per token side, for dense labels."""
    side, crop = info.label_side, config.data.crop
    if side % grid:
        raise UserError(f"labels of {side} px cannot be divided into {grid} patches per side")
    label_patch = side // grid
    if not crop:
        return grid, label_patch
    if crop % label_patch or not 0 < crop <= side:
        raise UserError(f"data.crop must be a multiple of {label_patch} up to {side} label pixels, found {crop}")
    return crop // label_patch, label_patch


def _layout(spec: ModalitySpec, info: DatasetInfo, patches: int, limit: int) -> ModalityLayout:
    """Layout of one modality with `patches` tokens per side and at most `limit` dates; 0 is no limit."""
    stored = info.modalities[spec.name]
    if spec.kind == "location":
        return ModalityLayout(spec.name, 0, stored.shape, stored.dtype)
    side = patches * spec.patch
    count = min(limit or stored.longest, stored.longest) if spec.kind == "series" else 0
    return ModalityLayout(spec.name, count, (side, side, spec.channels), stored.dtype)
