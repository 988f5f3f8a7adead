"""Runs an exported model: python run_exported.py MODEL.zip INPUTS.npz PROBABILITIES.npy. Needs jax, flatbuffers, numpy and safetensors.

INPUTS.npz holds inputs that export.json lists and, to have them checked, the names of bands in the order of the values, such as s2.bands.
A modality without values is absent. Of one with values, `present` and `valid` are true everywhere where they are not given; a series needs its dates.
"""

import json
import sys
import zipfile

import numpy as np
from jax import export
from safetensors.numpy import load

if len(sys.argv) != 4:
    sys.exit(f"usage: python run_exported.py MODEL.zip INPUTS.npz PROBABILITIES.npy: expected 3 arguments, found {len(sys.argv) - 1}")
model, measurements, out = sys.argv[1:]
with zipfile.ZipFile(model) as file:
    program = export.deserialize(bytearray(file.read("program.jaxexport")))
    params = load(file.read("model.safetensors"))
    description = json.loads(file.read("export.json"))
given, entries = dict(np.load(measurements)), {entry["name"]: entry for entry in description["inputs"]}
names = [modality["name"] for modality in description["modalities"]]
if unknown := given.keys() - entries.keys() - {f"{name}.bands" for name in names}:
    sys.exit(f"{measurements}: expected {', '.join(entries)}, found {', '.join(sorted(unknown))}, which the model does not know")
if not (values := [given[f"{name}.values"] for name in names if f"{name}.values" in given]):
    sys.exit(f"{measurements}: expected {' or '.join(f'{name}.values' for name in names)}, found none")
for modality in description["modalities"]:
    name, wanted, stated = modality["name"], modality.get("band_names"), given.pop(f"{modality['name']}.bands", None)
    if wanted and stated is not None and stated.tolist() != wanted:
        sys.exit(f"{name}.bands: expected {', '.join(wanted)}, found {', '.join(stated.tolist())}; bring {name}.values into this order")
    if f"{name}.values" in given and (stated is None or not wanted):
        print(f"{name}: not checked that its bands are {', '.join(wanted) if wanted else 'those of the training tiles, whose names are not known'}")
inputs = {}
for name, entry in entries.items():  # what is not given: zeros, and true where the modality has values
    modality, _, key = name.rpartition(".")
    found = given.get(f"{modality}.values")
    if (name in given and found is None) or (key == "dates" and name not in given and found is not None):
        needed, beside = (f"{modality}.values", name) if found is None else (name, f"{modality}.values")
        sys.exit(f"{measurements}: expected {needed} ({entries[needed]['meaning']}) beside {beside}, found none")
    shape = [size if isinstance(size, int) else len(values[0]) if size == "batch" else 1 if found is None else found.shape[1] for size in entry["shape"]]
    inputs[name] = given.get(name, np.full(shape, found is not None, entry["dtype"]))
np.save(out, program.call(params, inputs))
