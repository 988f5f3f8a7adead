"""What a map would be made of, printed before anything is computed."""

from rich.console import Console
from rich.table import Table

from omnisat_jax.errors import printable
from omnisat_jax.predict.blocks import STRIP
from omnisat_jax.predict.plan import MapPlan

MIB = 2**20


def print_plan(console: Console, plan: MapPlan) -> None:
    """Prints the grid, the coverage of every sensor and date, and remarks.

    Args:
      console: where to.
      plan: of the map.
    """
    grid = plan.grid
    rows, columns = grid.windows
    blocks = sum(1 for _ in grid.blocks())
    left, bottom, right, top = grid.bounds
    console.print(
        f"map: {grid.width:,} x {grid.height:,} pixels of {grid.pixel:g} m, x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}; "
        f"{rows * columns:,} windows of {grid.window * grid.ground:g} m in {blocks:,} blocks; memory about {memory(plan) / MIB:,.0f} MiB and the model's",
        soft_wrap=True,
    )
    table = Table()
    for heading in ("sensor", "date", "used", "known in the sample", "files"):
        table.add_column(heading, justify="left" if heading in ("sensor", "date") else "right")
    for sensor in plan.sensors:
        known = plan.surveys[sensor.name].known
        for position, frame in enumerate(sensor.frames):
            date = frame.date if sensor.spec.kind == "series" else "-"
            used = "yes" if position in plan.frames[sensor.name] else "no"
            table.add_row(sensor.name, date, used, f"{100 * known[position]:.1f} %", str(len(frame.pieces)))
    console.print(table)
    for name, size in input_bytes(plan).items():
        console.print(f"{name}: about {size / MIB:,.0f} MiB of measurements are read")
    for text in plan.info.remarks:
        console.print(f"remark: {printable(text, None)}", soft_wrap=True)


def memory(plan: MapPlan) -> int:
    """Bytes that a map needs beside the model: a block with its classes, and three strips of measurements (read, waiting, in use)."""
    grid = plan.grid
    row = sum(row_bytes(plan, sensor.name) for sensor in plan.sensors)
    tokens = (-(-grid.block // grid.pixels)) ** 2 * (plan.embedding_width + 1) if plan.embedding_width else 0
    return (grid.block**2 * (len(plan.classes) + 1) + tokens) * 4 + 3 * max(STRIP, row)


def row_bytes(plan: MapPlan, name: str) -> int:
    """Bytes of a sensor under one row of windows of a block."""
    grid = plan.grid
    spec = next(sensor.spec for sensor in plan.sensors if sensor.name == name)
    width = (-(-grid.block // (grid.stride * grid.pixels)) + 1) * grid.stride + grid.window
    return len(plan.frames[name]) * spec.channels * grid.window * width * spec.patch**2 * 4


def input_bytes(plan: MapPlan) -> dict[str, int]:
    """Sensor -> bytes of measurements under the map, as float32, each counted once."""
    tokens = plan.grid.rows * plan.grid.columns
    return {s.name: tokens * s.spec.patch**2 * s.spec.channels * 4 * len(plan.frames[s.name]) for s in plan.sensors}
