"""The public face: what importing the package may import, and what it needs to be used."""

import json
import pathlib
import subprocess
import sys

import pytest

import omnisat_jax
from tests.conftest import ROOT

HERE = pathlib.Path(__file__).parent
# Needed for training, preparing or reporting. What is not listed here is imported by jax or flax themselves: rich, absl, filelock, msgpack, yaml.
TRAINING_ONLY = (
    "orbax", "optax", "grain", "array_record", "tensorflow_datasets", "tensorflow", "clu", "ml_collections", "scipy", "sklearn", "matplotlib",
    "rasterio", "h5py", "jinja2", "tensorboardX", "torch", "huggingface_hub", "configs", "data",
)  # fmt: skip


def python(code: str, *arguments) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_else():
    code = """
import sys
before = set(sys.modules)
import omnisat_jax
omnisat_jax.__version__, dir(omnisat_jax)
print(*(set(sys.modules) - before))
"""
    imported = python(code).split()
    assert [name for name in imported if name.split(".")[0] not in sys.stdlib_module_names] == ["omnisat_jax"]


def test_names_are_loaded_when_they_are_used():
    code = """
import sys
from omnisat_jax import ModalitySpec
assert "jax" not in sys.modules
from omnisat_jax import Model, load_model
import omnisat_jax.inference.model, omnisat_jax.inference.model_folder, omnisat_jax.modalities
assert Model is omnisat_jax.inference.model.Model and ModalitySpec is omnisat_jax.modalities.ModalitySpec
assert load_model is omnisat_jax.inference.model_folder.load_model
"""
    python(code)


def test_every_public_name_is_listed_and_no_other_is_there():
    assert set(omnisat_jax.__all__) == {"Model", "ModalitySpec", "PredictOptions", "Region", "load_model", "map_region", "__version__"}
    assert set(omnisat_jax.__all__) <= set(dir(omnisat_jax))
    for name in omnisat_jax.__all__:
        getattr(omnisat_jax, name)
    with pytest.raises(AttributeError, match="module 'omnisat_jax' has no attribute 'Modell'"):
        omnisat_jax.Modell  # noqa: B018


def test_a_model_needs_none_of_the_packages_of_training():
    code = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[2:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
import numpy as np
from omnisat_jax import Model
model = Model.from_pretrained(sys.argv[1])
golden = np.load(sys.argv[1] + "_golden.npz")
probabilities = model.probabilities({"s2": (golden["s2"], golden["s2_dates"])})
print(json.dumps({"error": float(np.abs(probabilities - golden["probabilities_s2"]).max()), "shape": probabilities.shape}))
"""
    found = json.loads(python(code, str(HERE / "model_format_2"), *TRAINING_ONLY))
    assert found["shape"] == [16, 16, 19] and found["error"] < 1e-5
