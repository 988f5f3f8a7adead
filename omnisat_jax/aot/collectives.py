"""What a compiled program sends between devices, read from its HLO text."""

from collections.abc import Iterable
from typing import Any

from omnisat_jax.aot.hlo import Operation, shapes, size

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")


def collectives(found: Iterable[Operation]) -> list[dict[str, Any]]:
    """Finds every collective operation.

    Args:
      found: `hlo.operations` of a program.

    Returns:
      {"kind", "bytes" that go around the devices, "times" it runs per step, "shape"} each. These are the bytes of its result on one device or,
      where the result is only the share of one device, as of a reduce-scatter, those of its operands.
    """
    result = []
    for operation in found:
        kind = operation.kind.removesuffix("-start")  # of an asynchronous pair only the start counts; its end is the same operation
        if kind not in KINDS:
            continue
        arrays = shapes(operation.shape)
        if operation.kind != kind and kind in ("all-gather", "collective-permute"):
            # Their asynchronous form lists the operands before the results, and scalars for its own use.
            arrays = [array for array in arrays if array != ("u32", "")]
            arrays = arrays[len(arrays) // 2 :]
        text = " ".join(f"{dtype}[{dims}]" for dtype, dims in arrays)
        bytes_around = sum(operation.operands) if kind == "reduce-scatter" else size(text)
        result.append({"kind": kind, "bytes": bytes_around, "times": operation.times, "shape": text})
    return result


def totals(found: Iterable[Operation]) -> dict[str, float]:
    """Bytes per device and step that each kind of collective sends around; see `collectives`."""
    sums: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for operation in collectives(found):
        sums[operation["kind"]] += operation["bytes"] * operation["times"]
    return sums


def between_slices(found: Iterable[Operation]) -> float:
    """Bytes per device and step for other slices of TPUs.

    The compiler writes what crosses the data-centre network as "send". In a ring only the last device of a slice has somebody to send to, but its
    neighbors wait for it.
    """
    total = 0.0
    for operation in found:
        if operation.kind == "send":
            text = " ".join(f"{dtype}[{dims}]" for dtype, dims in shapes(operation.shape) if (dtype, dims) != ("u32", ""))
            total += size(text) * operation.times
    return total
