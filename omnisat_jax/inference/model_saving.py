"""Writing of model folders: see `omnisat_jax.inference.model_folder`."""

import json
import pathlib

import flax.traverse_util
import numpy as np
import xxhash
from safetensors.numpy import save

from omnisat_jax.errors import UserError, system_sentence
from omnisat_jax.files import atomic
from omnisat_jax.files.addresses import need_local
from omnisat_jax.files.json_file import Value
from omnisat_jax.inference.model_description import CONFIG, STATISTICS, describe, own_checksum, read_description
from omnisat_jax.inference.model_folder import EARLIER_WEIGHTS, WEIGHTS, check_statistics, check_values, folder_problems
from omnisat_jax.inference.model_info import ModelInfo
from omnisat_jax.types import Params, StrPath


def save_model(folder: StrPath, params: Params, info: ModelInfo) -> None:
    """Writes a model, in place of one that is there already. The folder is complete once config.json is there.

    Args:
      folder: made if it does not exist.
      params: nested names -> host arrays.
      info: everything else that the model needs.

    Raises:
      ModelError: weights, statistics or a description that no model can use, such as NaN or a temperature of 0.
      UserError: the folder cannot be written.
    """
    need_local(folder, "the folder of a model")
    folder = pathlib.Path(folder)
    problems = folder_problems(folder)
    flat = {name: np.asarray(value) for name, value in flax.traverse_util.flatten_dict(params, sep="/").items()}
    check_values(flat, problems)
    check_statistics(Value(info.statistics, folder / STATISTICS), info.specs, problems)
    flat = {name: np.asarray(value, np.float32, order="C") for name, value in flat.items()}
    contents = {WEIGHTS: save(flat), STATISTICS: json.dumps(info.statistics, indent=2).encode()}
    description = json.loads(json.dumps(describe(info)))
    checksums = {name: xxhash.xxh3_128_hexdigest(content) for name, content in contents.items()}
    description["checksums"] = checksums | {CONFIG: own_checksum(description)}
    with problems.gathered(CONFIG):  # as it will be read
        read_description(Value(description, folder / CONFIG), problems)
    problems.finish()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, EARLIER_WEIGHTS):  # until config.json is written again there is no model
            (folder / name).unlink(missing_ok=True)
        atomic.clear_partials(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({system_sentence(error)})") from error
    for name, data in contents.items():
        atomic.write_bytes(folder / name, data)
    atomic.write_json(folder / CONFIG, description)
