"""OmniSat in JAX: one model for any subset of the satellite and aerial images of a place.

    from omnisat_jax import Model
    model = Model.from_pretrained("runs/pastis/model")  # or "hf:ORG/NAME@v1.0"
    probabilities = model.probabilities({"s2": (values, dates), "spot": image})

    from omnisat_jax import Region, map_region
    map_region(model, Region.from_json("region.json"), "map")

Importing the package imports nothing else: each name is loaded when it is first used.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omnisat_jax.inference.model import Model
    from omnisat_jax.inference.model_folder import load_model
    from omnisat_jax.modalities import ModalitySpec
    from omnisat_jax.predict.options import PredictOptions
    from omnisat_jax.predict.region import Region
    from omnisat_jax.predict.run import map_region

__version__ = "1.0.0"
__all__ = ["ModalitySpec", "Model", "PredictOptions", "Region", "__version__", "load_model", "map_region"]

_MODULES = {
    "Model": "inference.model",
    "ModalitySpec": "modalities",
    "PredictOptions": "predict.options",
    "Region": "predict.region",
    "load_model": "inference.model_folder",
    "map_region": "predict.run",
}

# Under `python -m omnisat_jax.report`: Ctrl-C and a missing library end the program with one sentence, also while it is still importing.
if sys.argv[:1] == ["-m"]:
    from omnisat_jax.cli import extras, signals

    signals.listen()
    extras.listen()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    try:
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if not _MODULES[name].startswith("predict.") or str(error.name).startswith(__name__):
            raise
        raise ImportError(f'{__name__}.{name} needs {error.name}: pip install "omnisat-jax[predict]"') from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
