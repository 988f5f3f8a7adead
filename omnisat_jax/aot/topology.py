"""The chips that `--compile_for` names, and how the compilers are told of them."""

import dataclasses
import importlib.util
import math
import re
from typing import Any

import jax
from jax.experimental import topologies

from omnisat_jax.errors import UserError, reason
from omnisat_jax.parallel.chips import CHIPS, GPUS, Chip

PER_HOST = 8  # GPUs
# Facts that XLA's GPU compiler asks for, the same for the GPUs of `GPUS`.
_TARGET = """gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 core_count: {cores} fpus_per_core: {fpus}
  shared_memory_per_block: 49152 shared_memory_per_core: {shared} shared_memory_per_block_optin: {optin}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: {bandwidth} device_memory_size: {memory} l2_cache_size: {cache} clock_rate_ghz: {clock}
  cuda_compute_capability {{ major: {capability} minor: 0 }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{name}"
"""
_AMPERE = {"fpus": 64, "shared": 167936, "optin": 166912, "cache": 40 * 2**20, "clock": 1.41, "capability": 8}
_HOPPER = {"fpus": 128, "shared": 233472, "optin": 232448, "cache": 50 * 2**20, "clock": 1.98, "capability": 9}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips that are compiled for.

    Attributes:
      name: as on the command line.
      chip: what one of them can do.
      count: their number.
      slices: of TPUs, equal parts that only the data-centre network joins.
    """

    name: str
    chip: Chip
    count: int
    slices: int = 1

    @property
    def is_gpu(self) -> bool:
        """Whether the chips are GPUs."""
        return self.chip in GPUS.values()

    def devices(self) -> list[Any]:
        """Devices that exist for the compiler only.

        Raises:
          UserError: the compiler does not know the topology.
        """
        if not self.is_gpu:
            options: dict[str, Any] = {"num_slices": self.slices} if self.slices > 1 else {}
            if self.chip.cores > 1:  # a device is a chip, and not one of its cores, as in a process on it
                options["chip_config_name"] = "megacore"
            devices = _describe(self.name, platform="tpu", topology_name=self.name.rpartition("of_")[2], **options)
            if len(devices) != self.count:
                raise UserError(f"the compiler's {self.name}: expected one device for each of {self.count} chips, found {len(devices)}; report the version of libtpu")
            return devices
        chip, generation = self.chip, _AMPERE if self.chip is GPUS["a100"] else _HOPPER
        target = _TARGET.format(
            cores=chip.cores, bandwidth=int(chip.bandwidth), memory=int(chip.memory), name=chip.accelerator, **generation
        )
        hosts = -(-self.count // PER_HOST)
        shape = f"1x{hosts}x{self.count // hosts}"
        return _describe(self.name, platform="cuda", topology_name="", topology=shape, target_config=target)

    def need_compiler(self) -> None:
        """Checks that the compiler is installed.

        Raises:
          UserError: it is not; says how to install it.
        """
        if self.is_gpu:
            if not any(importlib.util.find_spec(name) for name in ("jax_cuda12_plugin", "jax_cuda13_plugin")):
                raise UserError(f"--compile_for={self.name} needs the GPU compiler: pip install 'omnisat-jax[gpu-compiler]', or pip install 'jax[cuda13-local]'")
        elif importlib.util.find_spec("libtpu") is None:
            raise UserError("--compile_for needs the TPU compiler: pip install 'omnisat-jax[tpu-compiler]', or pip install libtpu")


def _describe(name: str, **description: Any) -> list[Any]:
    try:
        return topologies.get_topology_desc(**description).devices
    except (jax.errors.JaxRuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(f"the compiler has no {name}: {reason(error)}") from error


def parse_topology(name: str) -> Topology:
    """The topology of a name: TPU chips such as v5e:4x4, slices of them such as 2_of_v5e:4x4, or a number of GPUs such as h100:8.

    Raises:
      UserError: another form, an unknown chip, slices of a chip whose network is not documented, or GPUs that do not fill their hosts.
    """
    if (match := re.fullmatch(r"(?:([1-9]\d{0,2})_of_)?(\w+):(\d+(?:x\d+)+)", name)) and match[2] in CHIPS:
        chip, slices = CHIPS[match[2]], int(match[1] or 1)
        if slices > 1 and not chip.network:
            known = ", ".join(other for other, facts in CHIPS.items() if facts.network)
            raise UserError(f"--compile_for={name}: expected slices of {known}, as the bandwidth between slices of {match[2]} is not documented")
        return Topology(name, chip, slices * math.prod(int(side) for side in match[3].split("x")), slices)
    if (match := re.fullmatch(r"(\w+):([1-9]\d{0,4})", name)) and match[1] in GPUS:
        count = int(match[2])
        if count > PER_HOST and count % PER_HOST:
            raise UserError(f"--compile_for={name}: expected up to {PER_HOST} GPUs, or a multiple of {PER_HOST}, found {count}")
        return Topology(name, GPUS[match[1]], count)
    raise UserError(
        f"--compile_for: expected CHIP:AxB or CHIP:AxBxC, or SLICES_of_CHIP:AxB, with a TPU chip of {', '.join(CHIPS)}, or GPU:N with a GPU of {', '.join(GPUS)}, found {name!r}"
    )
