"""What the data and the configuration agree on: which modalities, on which patch grid, in which static shapes."""

import dataclasses

from omnisat_jax.batch import BatchLayout, ModalityLayout
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.records.reader import Records


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """The common ground of records and configuration.

    Attributes:
      specs: the modalities both know, in configuration order.
      dropped: configured modalities that the data do not hold.
      unused: modalities of the data that the configuration does not ask for.
      grid: tokens per tile side; crop: tokens per side of a training crop.
      label_patch: label pixels per token side (segment), 0 (classify).
      classes: names of what is predicted: the data's classes, or those that a tile can have where its labels are made from dense ones.
      train, evaluation: static batch layouts.
    """

    specs: tuple[ModalitySpec, ...]
    dropped: tuple[str, ...]
    unused: tuple[str, ...]
    grid: int
    crop: int
    label_patch: int
    classes: tuple[str, ...]
    train: BatchLayout
    evaluation: BatchLayout


def agree(settings: schema.ExperimentConfig, records: Records) -> InputSpec:
    """Matches configured modalities with stored ones.

    Raises:
      UserError: a modality of another kind or number of bands, a tile that patches do not divide, or nothing in common.
    """
    if settings.task == "segment" != records.task:
        # Dense labels say which classes a tile has, but labels of tiles say nothing of pixels.
        raise UserError(
            f"task {settings.task!r}, but {records.about['source']} has labels for {records.task!r}: set --config.task={records.task}"
        )
    specs = tuple(spec for spec in settings.modalities if spec.name in records.modalities)
    if not specs:
        raise UserError(
            f"none of the configured modalities ({', '.join(s.name for s in settings.modalities)}) is in the data "
            f"({', '.join(records.modalities)})"
        )
    grids = {}
    for spec in specs:
        stored = records.modalities[spec.name]
        where = f"modalities.{spec.name}"
        if (spec.kind, spec.channels) != (stored.kind, stored.shape[-1]):
            raise UserError(
                f"{where}: configured as {spec.kind} of {spec.channels} channels, stored as {stored.kind} of {stored.shape[-1]}"
            )
        if spec.kind == "location":
            continue
        if stored.shape[0] != stored.shape[1] or stored.shape[0] % spec.patch:
            raise UserError(
                f"{where}: tiles of {stored.shape[0]}x{stored.shape[1]} px cannot be cut into patches of {spec.patch} px; change {where}.patch"
            )
        grids[spec.name] = stored.shape[0] // spec.patch
    if not grids:
        raise UserError(
            f"of the configured modalities the data hold only {', '.join(s.name for s in specs)}: a sensor is needed too"
        )
    if len(set(grids.values())) > 1:
        raise UserError(f"modalities must cover the same patches, found patches per side: {grids}; check resolution and patch")
    grid = next(iter(grids.values()))
    classes = records.classes
    if settings.task != records.task:
        classes = tuple(name for index, name in enumerate(classes) if index != records.background)
    crop, label_patch, labels, cropped = grid, 0, (len(classes),), (len(classes),)
    if settings.task == "segment":
        side = records.label_side
        if side % grid:
            raise UserError(f"labels of {side} px cannot be cut into {grid} patches per side")
        label_patch = side // grid
        if settings.data.crop:
            if settings.data.crop % label_patch or not 0 < settings.data.crop <= side:
                raise UserError(
                    f"data.crop must be a multiple of {label_patch} up to {side} label pixels, found {settings.data.crop}"
                )
            crop = settings.data.crop // label_patch
        labels, cropped = (side, side), (crop * label_patch, crop * label_patch)
    elif settings.data.crop:
        raise UserError("data.crop is for dense labels only: tile labels speak of the whole tile; set it to 0")
    dtype = "uint8" if settings.task == "segment" else "float32"

    def layout(patches, shape, dates):
        return BatchLayout(tuple(_layout(spec, records, patches, dates) for spec in specs), shape, dtype)

    return InputSpec(
        specs=specs,
        dropped=tuple(s.name for s in settings.modalities if s not in specs),
        unused=tuple(name for name, m in records.modalities.items() if name not in grids and m.kind != "location"),
        grid=grid,
        crop=crop,
        label_patch=label_patch,
        classes=classes,
        train=layout(crop, cropped, "dates_train"),
        evaluation=layout(grid, labels, "dates_eval"),
    )


def _layout(spec, records, patches, dates):
    stored = records.modalities[spec.name]
    if spec.kind == "location":
        return ModalityLayout(spec.name, 0, stored.shape, stored.dtype)
    limit = getattr(spec, dates) or stored.longest
    side = patches * spec.patch
    count = min(limit, stored.longest) if spec.kind == "series" else 0
    return ModalityLayout(spec.name, count, (side, side, spec.channels), stored.dtype)
