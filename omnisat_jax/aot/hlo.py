"""What the optimized HLO text of a compiled program says: its operations, how often they run, and the bytes that they move."""

import collections
import dataclasses
import math
import re

from omnisat_jax.errors import UserError

_BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "token": 0,
}  # fmt: skip
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) ?\(.*\{$")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(.*)$")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|branch_computations|called_computations)=\{?(%?[\w.\-]+(?:, ?%[\w.\-]+)*)\}?")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_OPERAND = re.compile(r"%([\w.\-]+)")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\](?:\{([\d,]*)((?::[^}]*)?)\})?")
_TILE = re.compile(r"T\((\d+),(\d+)\)")
# They name or move nothing by themselves: what they call, or what uses them, is counted.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all", "iota", "partition-id",
    "copy-done", "async-start", "async-update", "async-done", "fusion-start", "fusion-done", "opt-barrier",
}  # fmt: skip
_CONTROL = {"while", "conditional", "call", "async-start", "fusion-start"}


@dataclasses.dataclass(frozen=True)
class Operation:
    """One instruction outside of fusions, which keep their intermediate results to themselves.

    Attributes:
      kind: such as "fusion" or "all-reduce-start".
      shape: text of the result's shape.
      operands: bytes of each operand.
      times: that it runs per step; an operation inside a loop whose number of trips the compiler does not know counts once.
    """

    kind: str
    shape: str
    operands: tuple[int, ...]
    times: int


def shapes(text: str) -> list[tuple[str, str]]:
    """(dtype, dimensions) of every array of a shape, such as ("f32", "8,128")."""
    return [(dtype, dims) for dtype, dims, *_ in _SHAPE.findall(text)]


def size(text: str) -> int:
    """Bytes of all arrays of a shape that are held in the memory of the device, with the padding of a TPU's tiles.

    Args:
      text: for example "(f32[8,128]{1,0:T(8,128)}, s32[])". Arrays in another memory space, S(1), are not counted.
    """
    total = 0
    for dtype, dims, order, layout in _SHAPE.findall(text):
        if "S(1)" in layout:
            continue
        sides = [int(side) for side in dims.split(",") if side]
        if (tile := _TILE.search(layout)) and len(sides) > 1:
            minor, second = (int(axis) for axis in order.split(",")[:2])
            sides[minor] = -(-sides[minor] // int(tile[2])) * int(tile[2])
            sides[second] = -(-sides[second] // int(tile[1])) * int(tile[1])
        total += _BYTES.get(dtype, 4) * math.prod(sides)
    return total


def operations(text: str) -> list[Operation]:
    """Every operation that runs, in the entry computation and in what it calls.

    Args:
      text: `compiled.as_text()`.

    Raises:
      UserError: no operation can be found, as in a format of another version.
    """
    found, calls = collections.defaultdict(list), collections.defaultdict(list)
    current, entry, sizes = "", "", {}
    for line in text.splitlines():
        if not line.startswith(" ") and (start := _COMPUTATION.match(line)):
            current, sizes = start[1], {}
            entry = current if line.startswith("ENTRY") else entry
            continue
        instruction = _INSTRUCTION.match(line)
        if not instruction:
            continue
        name, shape, kind, operands, rest = instruction.groups()
        sizes[name] = size(shape)
        if kind in _CONTROL:
            trips = _TRIPS.search(rest)
            called = [each.strip() for names in _CALLED.findall(rest) for each in names.replace("%", "").split(",")]
            calls[current] += [(each, int(trips[1]) if trips else 1) for each in called]
        found[current].append((kind, shape, tuple(sizes.get(operand, 0) for operand in _OPERAND.findall(operands))))
    times: collections.Counter[str] = collections.Counter()

    def visit(name: str, count: int, depth: int = 0) -> None:
        times[name] += count
        for inner, trips in calls[name] if depth < 50 else ():
            visit(inner, count * trips, depth + 1)

    visit(entry, 1)
    if not found[entry]:
        raise UserError(f"the text of the compiled program: expected an ENTRY with operations, found none in {len(text):,} characters; report the version of jax")
    return [
        Operation(kind, shape, operands, times[name])
        for name, members in found.items()
        if times[name]
        for kind, shape, operands in members
    ]


def traffic(found: list[Operation]) -> int:
    """Bytes that one device reads and writes per step if every operation reads its operands from memory and writes its result to it.

    Caches make it less; kernels that read an operand more than once make it more.
    """
    return sum(operation.times * (size(operation.shape) + sum(operation.operands)) for operation in found if operation.kind not in _FREE)
