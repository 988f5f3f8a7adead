"""A trained model as plain files that any language reads: weights.safetensors, config.json, statistics.json."""

import dataclasses
import json
import pathlib

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from omnisat_jax import schema
from omnisat_jax.errors import UserError
from omnisat_jax.models.assembly import Assembly
from omnisat_jax.models.build import make_model


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """What a folder of model files holds.

    Attributes:
      module: ready to apply to {"params": params}.
      params: nested names -> float32 arrays.
      statistics: {modality: {"mean": [C], "std": [C]}} of the training tiles; see `batch.normalise`.
      classes: names of the classes, in the order of the logits.
      config: the settings of the run.
    """

    module: Assembly
    params: dict
    statistics: dict
    classes: tuple[str, ...]
    config: schema.Experiment


def save_model(folder, params, *, config: schema.Experiment, modalities, classes, label_patch: int, statistics: dict):
    """Writes a model; the folder is complete once config.json is there.

    Args:
      params: nested dict of host arrays.
      modalities: names of those that the model was built for, in its order.
      label_patch: label pixels a token side; 0 for tile labels.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    save_file({name: np.ascontiguousarray(value) for name, value in flat.items()}, folder / "weights.safetensors")
    (folder / "statistics.json").write_text(json.dumps(statistics, indent=2))
    about = {"modalities": list(modalities), "classes": list(classes), "label_patch": label_patch, "config": schema.flatten(config)}
    (folder / "config.json").write_text(json.dumps(about, indent=2))


def load_model(folder) -> TrainedModel:
    """Reads what `save_model` wrote.

    Raises:
      UserError: a file of the three is missing.
      UserError: a file that cannot be read, or of another form.
    """
    folder = pathlib.Path(folder)
    for name in ("config.json", "weights.safetensors", "statistics.json"):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: expected a file of a trained model, found none")
    try:
        about = json.loads((folder / "config.json").read_text())
        statistics = json.loads((folder / "statistics.json").read_text())
        flat = load_file(folder / "weights.safetensors")
    except (json.JSONDecodeError, SafetensorError) as error:
        raise UserError(f"{folder}: expected the files of a trained model, found one that cannot be read ({error})") from error
    try:
        config = schema.unflatten(about["config"])
        specs = {spec.name: spec for spec in config.modalities}
        present = tuple(specs[name] for name in about["modalities"])
        module = make_model(present, config, len(about["classes"]), about["label_patch"], jnp.float32)
    except KeyError as error:
        raise UserError(f"{folder / 'config.json'}: expected an entry {error}, found none") from error
    params = flax.traverse_util.unflatten_dict(flat, sep="/")
    return TrainedModel(module, params, statistics, tuple(about["classes"]), config)
