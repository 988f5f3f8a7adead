"""A PyTorch state dict as arrays, read entry by entry. What is missing, misshapen or left over is reported at the end."""

import pathlib
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from omnisat_jax.errors import DataError, printable
from omnisat_jax.files.paths import need_file
from omnisat_jax.files.problems import Problems, WeightsError
from omnisat_jax.files.safetensors_file import open_safetensors
from omnisat_jax.interop.torch_file import read_torch
from omnisat_jax.types import StrPath

EPSILON = 1e-5  # of BatchNorm in the original code
Layer = dict[str, np.ndarray]


def read_state_dict(path: StrPath) -> dict[str, np.ndarray]:
    """Reads the entries of a .safetensors file, or of a PyTorch checkpoint (.pth, .pth.tar, .pt, .ckpt; needs the extra "torch").

    PyTorch files are opened with weights_only=True: nothing in them is executed.

    Raises:
      WeightsError: a file that is missing, unreadable or of another kind.
    """
    path = pathlib.Path(path)
    try:
        need_file(path, what="a file of weights", advice="")
        if path.suffix == ".safetensors":
            return open_safetensors(path, what="weights").read()[0]
    except DataError as error:
        raise WeightsError(str(error)) from error
    if not path.name.endswith((".pth", ".pth.tar", ".pt", ".ckpt")):
        raise WeightsError(printable(f"{path}: expected .safetensors, .pth, .pth.tar, .pt or .ckpt", None))
    return read_torch(path)


class StateDict:
    """Entries taken one by one. `finish` reports every problem at once.

    A missing or misshapen entry gives zeros of the expected shape, so that one pass finds every problem.

    Attributes:
      source: the file, for messages.
    """

    def __init__(self, entries: Mapping[str, np.ndarray], source: StrPath):
        self._entries, self.source = entries, source
        self._used: set[str] = set()
        self._problems = Problems(source, WeightsError, noun="entry", verbs=("does not fit", "do not fit"))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def any(self, prefix: str) -> bool:
        """Returns whether a name begins with `prefix` and a dot."""
        return any(name.startswith(f"{prefix}.") for name in self._entries)

    def names(self, prefix: str) -> list[str]:
        """Returns the first part of every name that begins with `prefix`, without the prefix."""
        return sorted({name.split(".")[0].removeprefix(prefix) for name in self._entries if name.startswith(prefix)})

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Returns the shape of an entry from which widths are read. No axis has length 0.

        Raises:
          WeightsError: no such entry, or one of another number of axes.
        """
        if name not in self._entries:
            raise WeightsError(printable(f"{self.source}: expected an entry {name!r}, found none; is it the right network?", None))
        shape = tuple(self._entries[name].shape)
        if len(shape) != axes or 0 in shape:
            raise WeightsError(printable(f"{self.source}: {name}: expected {axes} axes, none of length 0, found {shape}", None))
        return shape

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the entry as float32. It must have exactly this shape."""
        self._used.add(name)
        value = self._entries.get(name)
        if value is None:
            self._problems.add(name, f"missing, expected {tuple(shape)}")
        elif tuple(value.shape) != tuple(shape):
            self._problems.add(name, f"expected {tuple(shape)}, found {tuple(value.shape)}")
        elif not jnp.issubdtype(value.dtype, jnp.floating):
            self._problems.add(name, f"expected floating-point numbers, found {value.dtype}")
        else:
            with np.errstate(over="ignore"):
                out = np.asarray(value, np.float32)
            wrong = out.size - int(np.isfinite(out).sum())
            if not wrong:
                return out
            self._problems.add(name, f"expected finite numbers, found {wrong:,} of {out.size:,} that are not")
        return np.broadcast_to(np.float32(0), shape)  # takes no memory, whatever shape the file asks for

    def contiguous(self, value: np.ndarray) -> np.ndarray:
        """Returns a copy in the order of its axes; once there is a problem, the value itself, as all of it will be refused."""
        return value if self._problems else np.ascontiguousarray(value)

    def finish(self, ignore: Callable[[str], bool] = lambda name: False) -> None:
        """Checks that no entry was missing, misshapen or left over.

        Args:
          ignore: whether an entry of this name may be left over. BatchNorm's counters always may.

        Raises:
          WeightsError: listing every entry.
        """
        for name in sorted(set(self._entries) - self._used):
            if not name.endswith("num_batches_tracked") and not ignore(name):
                self._problems.add(name, f"unknown, of shape {tuple(self._entries[name].shape)}")
        self._problems.finish()

    # The methods below turn a PyTorch layer into the parameters of a Flax layer. Letters: K side of a kernel, I inputs, O outputs.

    def conv(self, name: str, side: int, inputs: int, outputs: int, bias: bool = True) -> Layer:
        """Conv2d (O,I,K,K) -> kernel (K,K,I,O)."""
        out = {"kernel": self.take(f"{name}.weight", (outputs, inputs, side, side)).transpose(2, 3, 1, 0)}
        return out | {"bias": self.take(f"{name}.bias", (outputs,))} if bias else out

    def conv_transpose(self, name: str, side: int, inputs: int, outputs: int) -> Layer:
        """ConvTranspose2d (I,O,K,K) -> kernel (K,K,I,O), rotated by 180 degrees."""
        weight = self.take(f"{name}.weight", (inputs, outputs, side, side))[:, :, ::-1, ::-1]
        return {"kernel": self.contiguous(weight.transpose(2, 3, 0, 1)), "bias": self.take(f"{name}.bias", (outputs,))}

    def dense(self, name: str, inputs: int, outputs: int, shape: tuple[int, ...] | None = None) -> Layer:
        """Linear (O,I) or Conv1d (O,I,1) -> kernel (I,O)."""
        weight = self.take(f"{name}.weight", shape or (outputs, inputs)).reshape(outputs, inputs)
        return {"kernel": self.contiguous(weight.T), "bias": self.take(f"{name}.bias", (outputs,))}

    def norm(self, name: str, channels: int) -> Layer:
        """GroupNorm or LayerNorm -> scale, bias."""
        return {"scale": self.take(f"{name}.weight", (channels,)), "bias": self.take(f"{name}.bias", (channels,))}

    def batch_norm(self, name: str, channels: int) -> Layer:
        """BatchNorm in evaluation -> scale, bias, with its running statistics folded in."""
        weight, bias, mean, variance = (
            self.take(f"{name}.{entry}", (channels,)) for entry in ("weight", "bias", "running_mean", "running_var")
        )
        if variance.min() < 0:
            self._problems.add(f"{name}.running_var", f"expected variances of 0 or more, found {variance.min():g}")
            return {"scale": weight, "bias": bias}
        with np.errstate(over="ignore"):
            scale = weight / np.sqrt(variance + EPSILON)
            shift = bias - mean * scale
        if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
            self._problems.add(name, "expected a norm that float32 can hold, found one that overflows")
        return {"scale": scale, "bias": shift}
