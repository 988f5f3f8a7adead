"""What a compiled program sends between devices, read from its HLO text."""

import collections
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
_BYTES = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "s16": 2,
    "u16": 2,
    "bf16": 2,
    "f16": 2,
    "s32": 4,
    "u32": 4,
    "f32": 4,
    "s64": 8,
    "u64": 8,
    "f64": 8,
}
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_CALL = re.compile(r"(?:body|condition|to_apply|calls|branch_computations)=\{?%?([\w.\-]+(?:, ?%[\w.\-]+)*)\}?")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


def collectives(text: str) -> list[dict[str, Any]]:
    """Finds every collective operation of an HLO text.

    Returns:
      {"kind", "bytes" of its result on one device, "times" it runs per step, "shape"} each. An operation inside a loop counts as often as the
      compiler knows the loop to run, once where it does not know.
    """
    found, calls = collections.defaultdict(list), collections.defaultdict(list)
    current = entry = ""
    for line in text.splitlines():
        start = _COMPUTATION.match(line.strip())
        if start and not line.startswith("  "):
            current = start[1]
            entry = current if line.startswith("ENTRY") else entry
            continue
        for kind in KINDS:
            # Of an asynchronous pair only the start counts; its end is the same operation.
            match = re.search(rf"= (.*?) {kind}(?:-start)?\(", line)
            if match:
                shapes = _SHAPE.findall(match[1])
                if f"{kind}-start(" in line and kind in ("all-gather", "collective-permute"):
                    # Their asynchronous form lists the operands before the results, and scalars for its own use.
                    arrays = [shape for shape in shapes if shape != ("u32", "")]
                    shapes = arrays[len(arrays) // 2 :]
                size = sum(_BYTES.get(dtype, 4) * math.prod(int(n) for n in dims.split(",") if n) for dtype, dims in shapes)
                found[current].append({"kind": kind, "bytes": size, "shape": " ".join(f"{d}[{n}]" for d, n in shapes)})
        trips = _TRIPS.search(line)
        for names in _CALL.findall(line):
            for name in names.replace("%", "").split(","):
                calls[current].append((name.strip(), int(trips[1]) if trips else 1))
    times: collections.Counter[str] = collections.Counter()

    def visit(name: str, count: int, depth: int = 0) -> None:
        times[name] += count
        for inner, trips in calls[name] if depth < 50 else ():
            visit(inner, count * trips, depth + 1)

    visit(entry, 1)
    return [operation | {"times": times[name]} for name, operations in found.items() for operation in operations if times[name]]


def totals(operations: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Bytes per device and step of the results of each kind of collective."""
    sums: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for operation in operations:
        sums[operation["kind"]] += operation["bytes"] * operation["times"]
    return sums
