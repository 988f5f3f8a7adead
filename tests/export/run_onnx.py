"""Runs an exported file in onnxruntime: python run_onnx.py MODEL.onnx FOLDER. Writes N.npy for every N.npz of inputs, and description.json.

A program of its own, as the environment of jax2onnx has no pytest and none of the libraries of training.
"""

import pathlib
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
folder = pathlib.Path(sys.argv[2])
for path in folder.glob("*.npz"):
    np.save(path.with_suffix(".npy"), session.run(["probabilities"], dict(np.load(path)))[0])
(folder / "description.json").write_text(session.get_modelmeta().custom_metadata_map["omnisat_jax"])
