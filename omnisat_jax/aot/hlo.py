"""What the optimized HLO text of a compiled program says: its operations, how often they run, and the bytes that they move."""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

from omnisat_jax.errors import UserError

_BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "token": 0,
}  # fmt: skip
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) ?\(.*\{$")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(.*)$")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|branch_computations|called_computations)=\{?(%?[\w.\-]+(?:, ?%[\w.\-]+)*)\}?")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_OPERAND = re.compile(r"%([\w.\-]+)")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\](?:\{([\d,]*)((?::[^}]*)?)\})?")
_TILE = re.compile(r"T\((\d+),(\d+)\)")
# They name or move nothing by themselves: what they call, or what uses them, is counted. So are the ends of asynchronous pairs.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all", "iota", "partition-id",
    "async-start", "async-update", "fusion-start", "opt-barrier",
}  # fmt: skip
_CONTROL = {"while", "conditional", "call", "async-start", "fusion-start"}
_PARTS = {"dynamic-slice", "slice", "gather"}  # read of their first operand what they return
_UPDATE = "dynamic-update-slice"  # writes its second operand into the first, in place
_SAME = {"bitcast", "reshape", "copy", "convert"}  # inside a fusion: the same elements, one by one
_LISTS_OPERANDS = {"copy-start", "all-gather-start", "collective-permute-start"}  # whose shape has the operands beside the results


@dataclasses.dataclass(frozen=True)
class _Instruction:
    """A line of the text.

    Attributes:
      name, shape, kind: as written.
      arguments: text between its parentheses.
      rest: text after them.
      root: whether it is what its computation returns.
    """

    name: str
    shape: str
    kind: str
    arguments: str
    rest: str
    root: bool

    @property
    def operands(self) -> list[str]:
        """Names of its operands."""
        return _OPERAND.findall(self.arguments)

    @property
    def called(self) -> list[str]:
        """Names of the computations that it calls."""
        return [each.strip() for names in _CALLED.findall(self.rest) for each in names.replace("%", "").split(",")]


@dataclasses.dataclass(frozen=True)
class Operation:
    """One instruction outside of fusions, which keep their intermediate results to themselves.

    Attributes:
      kind: such as "fusion" or "all-reduce-start".
      shape: text of the result's shape.
      operands: bytes of each operand.
      moved: bytes that it reads and writes. Of what it takes a part of, or changes a part of in place, the part.
      times: that it runs per step; an operation inside a loop whose number of trips the compiler does not know counts once.
      cycles: that the compiler expects it to take each time; 0 where it does not say so, as for everything but fusions of TPUs.
    """

    kind: str
    shape: str
    operands: tuple[int, ...]
    moved: int
    times: int
    cycles: int = 0


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
    entry, computations = _parse(text)
    times: collections.Counter[str] = collections.Counter()

    def visit(name: str, count: int, depth: int = 0) -> None:
        times[name] += count
        for instruction in computations.get(name, ()) if depth < 50 else ():
            if instruction.kind in _CONTROL:
                trips = _TRIPS.search(instruction.rest)
                for inner in instruction.called:
                    visit(inner, count * (int(trips[1]) if trips else 1), depth + 1)

    visit(entry, 1)
    if not computations.get(entry):
        raise UserError(f"the text of the compiled program: expected an ENTRY with operations, found none in {len(text):,} characters; report the version of jax")
    found = []
    for name, members in computations.items():
        if times[name]:
            sizes = {member.name: size(member.shape) for member in members}
            for member in members:
                operands = tuple(sizes.get(operand, 0) for operand in member.operands)
                cycles = _CYCLES.search(member.rest)
                moved = _moved(member, operands, computations)
                found.append(Operation(member.kind, member.shape, operands, moved, times[name], int(cycles[1]) if cycles else 0))
    return found


def _parse(text: str) -> tuple[str, dict[str, list[_Instruction]]]:
    """The name of the entry computation, and the instructions of every computation."""
    computations: dict[str, list[_Instruction]] = collections.defaultdict(list)
    current = entry = ""
    for line in text.splitlines():
        if not line.startswith(" ") and (start := _COMPUTATION.match(line)):
            current = start[1]
            entry = current if line.startswith("ENTRY") else entry
        elif instruction := _INSTRUCTION.match(line):
            computations[current].append(_Instruction(*instruction.groups(), root=line.lstrip().startswith("ROOT ")))
    return entry, computations


def _moved(instruction: _Instruction, operands: tuple[int, ...], computations: Mapping[str, list[_Instruction]]) -> int:
    """Bytes that an instruction reads and writes, with the bytes of each of its operands."""
    kind, result = instruction.kind, size(instruction.shape)
    if kind in _FREE or kind.endswith("-done"):
        return 0
    if kind in _LISTS_OPERANDS:
        return result
    if kind in _PARTS:
        return 2 * result + sum(operands[1:])
    if kind == _UPDATE:
        return 2 * sum(operands[1:2]) + sum(operands[2:])
    inside = computations.get(instruction.called[0], []) if kind == "fusion" and instruction.called else []
    if not inside:
        return result + sum(operands)
    by_name = {member.name: member for member in inside}
    parameters = {int(member.arguments): member for member in inside if member.kind == "parameter"}
    read = sum(_read(parameters[index], whole, inside) if index in parameters else whole for index, whole in enumerate(operands))
    (root,) = [member for member in inside if member.root] or inside[-1:]
    parts = [by_name[name] for name in root.operands if name in by_name] if root.kind == "tuple" else [root]
    return read + sum(_written(part, by_name) for part in parts)


def _read(source: _Instruction, whole: int, inside: list[_Instruction]) -> int:
    """Bytes that a fusion reads of what `source`, a parameter or the same in another form, holds in `whole` bytes."""
    total = 0
    for user in inside:
        if source.name in user.operands:
            first, others = user.operands[0] == source.name, source.name in user.operands[1:]
            if user.kind in _SAME and not user.root:
                total += _read(user, whole, inside)
            elif user.kind in _PARTS and first and not others:
                total += size(user.shape)
            elif user.kind != _UPDATE or others:
                return whole
    return min(total, whole)


def _written(result: _Instruction, by_name: Mapping[str, _Instruction]) -> int:
    """Bytes of a result of a fusion that it writes: of a parameter that it changes in place, what changes."""
    update = _origin(result, by_name)
    if update.kind == _UPDATE and all(name in by_name for name in update.operands[:2]):
        target, change = (by_name[name] for name in update.operands[:2])
        if _origin(target, by_name).kind == "parameter":
            return size(change.shape)
    return size(result.shape)


def _origin(result: _Instruction, by_name: Mapping[str, _Instruction]) -> _Instruction:
    """What a result is another form of."""
    while result.kind in _SAME and result.operands and result.operands[0] in by_name:
        result = by_name[result.operands[0]]
    return result


def traffic(found: Sequence[Operation]) -> int:
    """Bytes that one device reads and writes per step if every operation reads its operands from memory and writes its result to it.

    Caches make it less; kernels that read an operand more than once make it more.
    """
    return sum(operation.times * operation.moved for operation in found)
