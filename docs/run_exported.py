"""Runs an exported model: python run_exported.py MODEL.zip INPUTS.npz PROBABILITIES.npy. Needs jax, flatbuffers, numpy and safetensors."""

import json
import sys
import zipfile

import numpy as np
from jax import export
from safetensors.numpy import load

model, measurements, out = sys.argv[1:]
with zipfile.ZipFile(model) as file:
    program = export.deserialize(bytearray(file.read("program.jaxexport")))
    params = load(file.read("model.safetensors"))
    description = json.loads(file.read("export.json"))
given = dict(np.load(measurements))
tiles, inputs = len(next(iter(given.values()))), {}
for entry in description["inputs"]:  # a modality that is not given is absent: zeros, and `present` false
    shape = [size if isinstance(size, int) else tiles if size == "batch" else 1 for size in entry["shape"]]
    inputs[entry["name"]] = given.pop(entry["name"], np.zeros(shape, entry["dtype"]))
assert not given, f"unknown inputs {', '.join(given)}; the model takes {', '.join(inputs)}"
np.save(out, program.call(params, inputs))
