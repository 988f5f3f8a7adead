"""The batches of a run, as far as this process reads them."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from jax.sharding import Mesh

from omnisat_jax.config import schema
from omnisat_jax.input import device, pipeline
from omnisat_jax.input.additional import AdditionalTiles
from omnisat_jax.input.spec import InputSpec
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.parallel import hosts, mesh as meshes
from omnisat_jax.records.reader import Records, TileSource
from omnisat_jax.records.splits import Split
from omnisat_jax.types import Batch


@dataclasses.dataclass(frozen=True, eq=False)
class RunBatches:
    """Host batches of the tiles of a run: the rows that lie on the devices of this process.

    Attributes:
      records: the tiles.
      additional: further records, which only pre-training uses.
      split: which parts of them train, validate and test.
      input_spec: what a batch looks like.
      mesh: over which batches are cut.
      config: of the data.
      eval_batch_size: tiles per evaluation step, over all processes.
      seed: of the order of tiles, the augmentation, and the choice of a share of the tiles.
    """

    records: Records
    additional: Sequence[Records]
    split: Split
    input_spec: InputSpec
    mesh: Mesh
    config: schema.DataConfig
    eval_batch_size: int
    seed: int

    def pretraining(self, batch_size: int, first_step: int) -> Iterator[tuple[Batch, Batch]]:
        """Endless (host batch, device batch) of all training tiles, with and without labels, and of the additional records.

        Args:
          batch_size: tiles per step, over all processes.
          first_step: steps already taken, whose batches are passed over.
        """
        source, spec = self.records.every_tile(self.split.train), self.input_spec
        if not self.additional:
            return self._endless(source, batch_size, first_step)
        whole = self._make_batch(training=True, void_parcels=None)
        whole = dataclasses.replace(whole, layout=spec.pretrain, crop=spec.pretrain_crop)
        folders, first = [pipeline.Examples(source, whole)], len(self.records.tile_ids)
        stored = {m.name: self.records.modalities[m.name] for m in spec.pretrain.modalities}
        for records, grid in zip(self.additional, spec.additional_grids, strict=True):
            folders.append(pipeline.Examples(AdditionalTiles(records, stored, first), dataclasses.replace(whole, grid=grid)))
            first += len(records.tile_ids)
        dataset = pipeline.mixture(
            folders,
            self.config.pretrain_weights,
            seed=self.seed,
            batch_size=batch_size,
            rows=meshes.local_rows(self.mesh, batch_size),
            options=self._options(),
        )
        return self._from(dataset, first_step)

    def finetuning(self, batch_size: int, share: float, first_step: int) -> Iterator[tuple[Batch, Batch]]:
        """Endless (host batch, device batch) of the labeled training tiles.

        Args:
          batch_size: tiles per step, over all processes.
          share: of the labeled tiles that is used.
          first_step: steps already taken, whose batches are passed over.
        """
        return self._endless(self.records.source(self.split.train, share, self.seed), batch_size, first_step)

    def _endless(self, source: TileSource, batch_size: int, first_step: int) -> Iterator[tuple[Batch, Batch]]:
        dataset = pipeline.training(
            source,
            self._make_batch(training=True, void_parcels=self._void_parcels),
            seed=self.seed,
            batch_size=batch_size,
            rows=meshes.local_rows(self.mesh, batch_size),
            options=self._options(),
        )
        return self._from(dataset, first_step)

    def _options(self) -> grain.ReadOptions:
        return grain.ReadOptions(num_threads=self.config.threads, prefetch_buffer_size=self.config.buffer)

    def _from(self, dataset: grain.IterDataset, first_step: int) -> Iterator[tuple[Batch, Batch]]:
        return device.prefetch(pipeline.start_at(dataset, first_step), meshes.batch_sharding(self.mesh))

    def evaluation(self, parts: Sequence[str], share: float = 1.0) -> Iterator[Batch]:
        """Host batches of every labeled tile of a share of `parts`, each tile once, whole and not augmented."""
        return self._whole_tiles(parts, share, void_parcels=None)

    def training_tiles(self, share: float = 1.0) -> Iterator[Batch]:
        """Host batches of a share of the labeled training tiles as evaluation sees them, with the labels that training may see."""
        return self._whole_tiles(self.split.train, share, self._void_parcels)

    def tile_names(self, host: Batch) -> list[str]:
        """Names of the tiles of a batch, of which every process has some rows. All processes must call it."""
        mine = sorted({self._every_name[index] for index in host["tile_index"][host["weight"] > 0]})
        return sorted({name for facts in hosts.exchange("tiles of a step", {"tiles": mine}) for name in facts["tiles"]})

    def local_rows(self) -> tuple[int, ...]:
        """Rows of an evaluation batch that this process reads."""
        return meshes.local_rows(self.mesh, self.eval_batch_size)

    def abstract_evaluation(self) -> Any:
        """ShapeDtypeStructs of an evaluation batch, cut over the devices."""
        return self.input_spec.evaluation.abstract(self.eval_batch_size, meshes.batch_sharding(self.mesh))

    @functools.cached_property
    def _every_name(self) -> tuple[str, ...]:
        """Names of all tiles in the order of `tile_index`; those of additional records with their folder."""
        return self.records.tile_ids + tuple(f"{records.root}: {tile}" for records in self.additional for tile in records.tile_ids)

    @functools.cached_property
    def _void_parcels(self) -> np.ndarray | None:
        """Parcels whose pixels are void in training: those of the test tiles, where the configuration asks for it."""
        return self.records.parcels(self.split.test) if self.config.void_test_parcels else None

    def _whole_tiles(self, parts: Sequence[str], share: float, void_parcels: np.ndarray | None) -> Iterator[Batch]:
        return pipeline.evaluation(
            self.records.source(parts, share, self.seed),
            self._make_batch(training=False, void_parcels=void_parcels),
            batch_size=self.eval_batch_size,
            rows=self.local_rows(),
        )

    def _make_batch(self, training: bool, void_parcels: np.ndarray | None) -> MakeBatch:
        """The transform from stored tiles to batch elements."""
        return MakeBatch(
            layout=self.input_spec.train if training else self.input_spec.evaluation,
            grid=self.input_spec.grid,
            crop=self.input_spec.crop if training else self.input_spec.grid,
            origin=self.config.origin,
            random=training,
            augment=self.config.augment == "d4",
            ignore=self.records.ignore,
            background=self.records.background,
            void_parcels=void_parcels,
        )
