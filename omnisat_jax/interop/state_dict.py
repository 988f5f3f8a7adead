"""A PyTorch state dict as arrays, read entry by entry with an account of what is missing, misshapen or left over."""

import pathlib

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from omnisat_jax.errors import UserError

EPSILON = 1e-5  # of BatchNorm in the original code


class WeightsError(UserError):
    """Weights that do not fit; the message lists every entry that is wrong."""


def read_state_dict(path) -> dict[str, np.ndarray]:
    """Entries of a .safetensors file, or of a PyTorch checkpoint (.pth, .pth.tar, .pt, .ckpt; needs the extra "torch").

    PyTorch files are opened with weights_only=True: nothing in them is executed.

    Raises:
      WeightsError: no such file, unreadable, or of another kind.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: expected a file of weights, found none")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise WeightsError(f"{path}: expected safetensors, found an unreadable file ({error})") from error
    if not path.name.endswith((".pth", ".pth.tar", ".pt", ".ckpt")):
        raise WeightsError(f"{path}: expected .safetensors, .pth, .pth.tar, .pt or .ckpt")
    try:
        import torch
    except ImportError:
        raise WeightsError(
            f"{path}: PyTorch files need PyTorch once: pip install 'omnisat-jax[torch]', or convert the file to safetensors"
        ) from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; all mean that the file cannot be read safely
        if "weights_only" not in str(error):
            raise WeightsError(f"{path}: expected a PyTorch file, found an unreadable or truncated one ({error})") from error
        raise WeightsError(
            f"{path}: PyTorch does not read it without executing code that the file names. If you trust whoever wrote it, load it where it was "
            "made, with weights_only=False, and write its state dict with safetensors.torch.save_file. "
            f"PyTorch says: {error}"
        ) from error
    while isinstance(content, dict):
        inner = next(
            (content[key] for key in ("state_dict", "model_state_dict", "model") if isinstance(content.get(key), dict)), None
        )
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{path}: expected a state dict, or one under 'state_dict' or 'model', found {_kind(content)}")
    return {
        name: (value.detach().float() if value.is_floating_point() else value.detach()).numpy()  # NumPy has no bfloat16
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }


def _kind(content):
    return f"a dict of {sorted(map(str, content))[:8]}" if isinstance(content, dict) else f"a {type(content).__name__}"


class StateDict:
    """Entries taken one by one; `finish` complains about everything at once.

    A missing or misshapen entry gives zeros of the expected shape, so that one pass finds every problem.
    """

    def __init__(self, entries, source):
        self._entries, self.source = entries, source
        self._used, self._problems = set(), []

    def __contains__(self, name):
        return name in self._entries

    def any(self, prefix) -> bool:
        """Whether an entry lies under `prefix`."""
        return any(name.startswith(f"{prefix}.") for name in self._entries)

    def rooms(self, prefix) -> list[str]:
        """First parts of the names that begin with `prefix`, without it."""
        return sorted({name.split(".")[0].removeprefix(prefix) for name in self._entries if name.startswith(prefix)})

    def shape(self, name) -> tuple[int, ...]:
        """Shape of an entry from which widths are read.

        Raises:
          WeightsError: no such entry.
        """
        if name not in self._entries:
            raise WeightsError(f"{self.source}: expected an entry {name!r}, found none; is it the right network?")
        return tuple(self._entries[name].shape)

    def take(self, name, shape) -> np.ndarray:
        """The entry as float32, of exactly this shape."""
        self._used.add(name)
        value = self._entries.get(name)
        if value is None:
            self._problems.append(f"{name}: missing, expected {tuple(shape)}")
        elif tuple(value.shape) != tuple(shape):
            self._problems.append(f"{name}: expected {tuple(shape)}, found {tuple(value.shape)}")
        else:
            return np.asarray(value, np.float32)
        return np.zeros(shape, np.float32)

    def finish(self, ignore=lambda name: False):
        """Checks that nothing was missing, misshapen or left over.

        Args:
          ignore: names that may be left over, besides BatchNorm's counters.

        Raises:
          WeightsError: listing every entry.
        """
        for name in sorted(set(self._entries) - self._used):
            if not name.endswith("num_batches_tracked") and not ignore(name):
                self._problems.append(f"{name}: unknown, of shape {tuple(self._entries[name].shape)}")
        if self._problems:
            raise WeightsError(f"{self.source}: {len(self._problems)} entries do not fit:\n" + "\n".join(self._problems))

    # What follows turns a PyTorch layer into the parameters of ours.

    def conv(self, name, side, inputs, outputs, bias=True):
        """Conv2d (O,I,K,K) -> kernel (K,K,I,O)."""
        out = {"kernel": self.take(f"{name}.weight", (outputs, inputs, side, side)).transpose(2, 3, 1, 0)}
        return out | {"bias": self.take(f"{name}.bias", (outputs,))} if bias else out

    def conv_transpose(self, name, side, inputs, outputs):
        """ConvTranspose2d (I,O,K,K) -> kernel (K,K,I,O), turned by half a circle."""
        weight = self.take(f"{name}.weight", (inputs, outputs, side, side))[:, :, ::-1, ::-1]
        return {"kernel": np.ascontiguousarray(weight.transpose(2, 3, 0, 1)), "bias": self.take(f"{name}.bias", (outputs,))}

    def dense(self, name, inputs, outputs, shape=None):
        """Linear (O,I) or Conv1d (O,I,1) -> kernel (I,O)."""
        weight = self.take(f"{name}.weight", shape or (outputs, inputs)).reshape(outputs, inputs)
        return {"kernel": np.ascontiguousarray(weight.T), "bias": self.take(f"{name}.bias", (outputs,))}

    def norm(self, name, channels):
        """GroupNorm or LayerNorm -> scale, bias."""
        return {"scale": self.take(f"{name}.weight", (channels,)), "bias": self.take(f"{name}.bias", (channels,))}

    def batch_norm(self, name, channels):
        """BatchNorm in evaluation -> scale, bias, its running statistics folded in."""
        weight, bias, mean, variance = (
            self.take(f"{name}.{entry}", (channels,)) for entry in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / np.sqrt(variance + EPSILON)
        return {"scale": scale, "bias": bias - mean * scale}
