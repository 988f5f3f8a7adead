"""What a map would be made of, printed before anything is computed."""

from rich.console import Console
from rich.table import Table

from omnisat_jax.errors import printable
from omnisat_jax.predict.memory import memory
from omnisat_jax.predict.plan import MapPlan
from omnisat_jax.predict.run import READERS
from omnisat_jax.words import number_of

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
        f"{number_of(rows * columns, 'window')} of {grid.window * grid.ground:g} m in {number_of(blocks, 'block')}; memory at most {memory(plan, READERS) / MIB:,.0f} MiB and the model's",
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


def input_bytes(plan: MapPlan) -> dict[str, int]:
    """Sensor -> bytes of measurements under the map, as float32, each counted once."""
    tokens = plan.grid.rows * plan.grid.columns
    return {s.name: tokens * s.spec.patch**2 * s.spec.channels * 4 * len(plan.frames[s.name]) for s in plan.sensors}
