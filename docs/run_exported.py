"""Runs an exported model: python run_exported.py MODEL.zip INPUTS.npz PROBABILITIES.npy. Needs jax, flatbuffers, numpy and safetensors.

INPUTS.npz holds inputs that export.json lists and, to have them checked, the names of bands in the order of the values, such as s2.bands.
"""

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
for modality in description["modalities"]:
    name, wanted = modality["name"], modality.get("band_names")
    stated = given.pop(f"{name}.bands", None)
    if wanted and stated is not None and stated.tolist() != wanted:
        sys.exit(f"{name}.bands: expected {', '.join(wanted)}, found {', '.join(stated.tolist())}; bring {name}.values into this order")
    if f"{name}.values" in given and (stated is None or not wanted):
        print(f"{name}: not checked that its bands are {', '.join(wanted) if wanted else 'those of the training tiles, whose names are not known'}")
tiles, inputs = len(next(iter(given.values()))), {}
for entry in description["inputs"]:  # a modality that is not given is absent: zeros, and `present` false
    shape = [size if isinstance(size, int) else tiles if size == "batch" else 1 for size in entry["shape"]]
    inputs[entry["name"]] = given.pop(entry["name"], np.zeros(shape, entry["dtype"]))
if given:
    sys.exit(f"unknown inputs {', '.join(given)}; the model takes {', '.join(inputs)}")
np.save(out, program.call(params, inputs))
