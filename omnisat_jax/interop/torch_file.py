"""The only reader of PyTorch's own files. Nothing in them is executed, and every tensor that they describe is checked."""

import numpy as np

from omnisat_jax.errors import printable, reason
from omnisat_jax.files.problems import WeightsError
from omnisat_jax.types import StrPath

OLDEST = (2, 6)  # earlier versions could be made to execute code in spite of weights_only=True (CVE-2025-32434)
DEEPEST = 8  # dicts around the state dict
WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_torch(path: StrPath) -> dict[str, np.ndarray]:
    """Reads the state dict in a PyTorch checkpoint. Floating-point entries become float32.

    Raises:
      WeightsError: PyTorch is missing or too old, or the file is unreadable, would execute code or holds no state dict.
    """
    torch = _torch(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds; all mean that the file cannot be read safely
        if "weights_only" not in str(error):
            raise _refused(path, f"expected a PyTorch file, found an unreadable or truncated one ({reason(error)})") from error
        raise _refused(
            path,
            "PyTorch does not read it without executing code that the file names. If you trust its author, load it where it was made, "
            "with weights_only=False, and write its state dict with safetensors.torch.save_file. "
            f"PyTorch says: {printable(str(error), 2000)}",
        ) from error
    for _ in range(DEEPEST):  # a dict may contain itself
        if not isinstance(content, dict):
            break
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise _refused(path, f"expected a state dict, or one under 'state_dict' or 'model', found {_kind(content)}")
    entries = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not all(isinstance(name, str) for name in entries):
        raise _refused(path, f"expected a state dict whose names are strings, found {_kind(content)}")
    return {name: _array(torch, path, name, value.detach()) for name, value in entries.items()}


def _torch(path):
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise _refused(
            path, "reading PyTorch files needs PyTorch: pip install 'omnisat-jax[torch]', or convert the file to safetensors"
        ) from None
    found = str(getattr(torch, "__version__", "0"))
    numbers = [int(part) if part.isdecimal() else 0 for part in found.split("+")[0].split(".")[:2]]
    if tuple(numbers) < OLDEST:
        raise _refused(
            path,
            f"expected PyTorch {OLDEST[0]}.{OLDEST[1]} or later, found {found}, in which a file of weights can execute code: "
            "pip install -U 'omnisat-jax[torch]', or convert the file to safetensors",
        )
    return torch


def _array(torch, path, name, value):
    """A tensor as an array. Floating-point numbers become float32, as NumPy has no bfloat16."""
    floating = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    whole = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
    if value.layout != torch.strided or value.device.type != "cpu" or value.dtype not in floating + whole:
        raise _refused(
            path, f"{name}: expected an array of numbers, found {value.dtype}, {value.layout}, on {value.device.type}"
        )
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise _refused(
            path, f"{name}: expected the {value.numel():,} numbers of its shape, found {value.untyped_storage().nbytes():,} bytes"
        )
    return (value.float() if value.dtype in floating else value).numpy()


def _refused(path, text):
    return WeightsError(printable(f"{path}: {text}", None))


def _kind(content):
    return printable(f"a dict of {sorted(map(str, content))[:8]}" if isinstance(content, dict) else f"a {type(content).__name__}")
