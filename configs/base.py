"""Every configuration key of the project, once, with its unit and its default.

The dataset files beside this one start from `base()` and change values; none of them adds a key.
`omnisat_jax/config/schema.py` says what each may be, and turns the result into typed, checked dataclasses; every number is finite.
"""

from ml_collections import ConfigDict


def base() -> ConfigDict:
    """The default of every key."""
    c = ConfigDict()
    c.name = "base"  # names the run and its default working directory runs/<name>; no / \\ [ ] * ?
    c.seed = 0  # 0 to 2**32 - 1; decides initial weights, order of examples, augmentation, dropout
    c.task = "segment"  # segment (dense labels) | classify (several labels a tile)

    c.data = _data()
    c.modalities = ConfigDict()  # name -> modality(...); a sensor the data lack is dropped and reported
    c.model = _model()
    c.pretrain_from = ""  # folder of a run whose finished pre-training is taken instead of one of its own
    c.pretrain = stage(steps=10_000, learning_rate=1e-3)
    c.finetune = stage(steps=10_000, learning_rate=1e-3)

    c.contrastive = ConfigDict()
    c.contrastive.weight = 1.0  # 0 to 1000
    c.contrastive.granularities = ("patch",)  # what a row of the loss is: any of patch, tile, pixel; each is a loss of its own
    c.contrastive.pixels = 64  # pixels per tile that are contrasted (granularity pixel)
    c.contrastive.views = ()  # modalities that are contrasted; () = all
    c.contrastive.group_size = 0  # tiles that are contrasted together, whatever the device count; 0 = all tiles of the batch
    c.contrastive.implementation = "ring"  # ring (memory linear in rows, over all devices) | dense (every logit at once)
    c.contrastive.temperature = 0.1  # of the softmax, 0.001 to 100
    c.contrastive.learned_temperature = False  # between 0.01 and 1
    c.contrastive.roll = True  # move each modality by its own number of patches, so that a place in the tile names no patch
    c.contrastive.jitter = 0.0  # spread of a random gain and offset of each band of a tile, in standard deviations, up to 2; 0 = none
    c.contrastive.jitter_days = 0.0  # spread in days by which a series of a tile is moved as a whole, up to 366; 0 = none
    c.contrastive.fused = True  # the fused tokens of a random subset are one more view to align
    c.reconstruction = ConfigDict()
    c.reconstruction.weight = 0.0  # of masked reconstruction beside the contrast, up to 1000; 0 = none
    c.reconstruction.mask_ratio = 0.75  # share of the tokens hidden from fusion, below 1
    c.reconstruction.date_share = 0.25  # share of the dates of a series to reconstruct, the most attended ones; above 0
    c.segmentation = ConfigDict()
    c.segmentation.dice_weight = 1.0  # loss = cross-entropy + dice_weight * Dice (0 to 1000); void never counts

    c.nonfinite_budget = 10  # steps with a non-finite loss that are skipped before the run ends

    c.mesh = ConfigDict()
    c.mesh.replica = -1  # copies joined by the slower network; -1 = one a TPU slice
    c.mesh.data = -1  # devices along the batch; -1 = all that the others leave and, in one process, batches can be cut over
    c.mesh.fsdp = 1  # devices over which large parameters are cut
    c.mesh.fsdp_min_size = 2**20  # elements; parameters with fewer are replicated

    c.eval = ConfigDict()
    c.eval.batch_size = 8  # tiles
    c.eval.panels = 4  # test tiles drawn as pictures, up to 1000
    c.eval.threshold = 0.5  # probability above which a tile label is predicted (classify), between 0 and 1
    c.eval.probe = "none"  # none (fine-tune) | linear | knn: read the frozen pre-trained tokens instead of fine-tuning
    c.eval.probe_tokens = 20_000  # training tokens a probe is fitted to, at most
    c.eval.probe_neighbours = 20  # tokens, of the k-NN probe
    # Training tiles that a k-NN of the pre-trained tokens knows, and validation tiles that it is scored on and that are drawn; 0 = neither.
    c.eval.monitor_tiles = 64
    return c


def _data() -> ConfigDict:
    """Where tiles come from, and how they are read."""
    c = ConfigDict()
    c.dataset = "pastis"  # a folder of data/: pastis | treesat | flair | tiles
    c.raw_dir = ""  # raw dataset folder; "" = simulate one (only where data.simulated.tiles > 0)
    c.prepared_dir = ""  # records made by `python -m data.prepare`; "" = make them from raw_dir
    c.cache_dir = "runs/cache"  # where simulated tiles and prepared records are kept
    c.nomenclature = ""  # which set of classes, of datasets that have several (flair: 12 | 13 | 19)
    c.on_bad = "raise"  # a broken file: raise | skip (leave its tile out) | mask (its modality counts as absent)
    c.max_bad = 0.05  # largest share of tiles with a broken file, 0 to 1
    c.float16 = False  # store float32 modalities as float16 (radar in dB: an error below 0.016 dB)
    c.statistics = "all"  # dates of reflectance that normalisation is computed from: all | clear (without those that look cloudy)
    c.label_share = 1.0  # above 0; share of the training tiles whose labels fine-tuning sees; pre-training sees them all
    c.protocol = "auto"  # auto | official_5fold | single_split | tile_f1 | leave_one_fold_out | fixed
    c.fold = 1  # which fold of the protocol, counted from 1
    c.origin = "2018-09-01"  # day 0 of dates: YYYY-MM-DD (1900 to 2100) | season (1 September before) | year (1 January)
    c.crop = 0  # side of a training crop in label pixels; 0 = the whole tile
    c.augment = "d4"  # d4 (8 flips and rotations, one draw for all modalities) | none
    c.void_test_parcels = False  # training pixels of parcels that test tiles contain become void
    c.threads = 2  # reading threads, up to 256
    c.buffer = 4  # batches read ahead, up to 64: each is a whole batch in memory
    c.simulated = ConfigDict()
    c.simulated.tiles = 0  # how many tiles to simulate when raw_dir is empty; 0 = never
    c.simulated.tile_size = 128  # pixels (of 10 m; flair and treesat: 0.2 m), up to 1024
    c.simulated.seed = 0  # 0 to 2**32 - 1
    return c


def _model() -> ConfigDict:
    """Widths and kinds of every part of the model."""
    c = ConfigDict()
    c.architecture = "omnisat"  # omnisat | early, late, dual (series only, no pre-training) | published (classify only) | skysense
    c.width = 256  # D, token width; a multiple of 4 and of the heads of vit and fusion
    c.precision = "auto"  # computation: auto (bfloat16 on GPU/TPU, float32 on CPU) | float32 | bfloat16
    c.norm = "image"  # of convolutions: image (GroupNorm of each image) | pixel (LayerNorm of each pixel: keeps overall brightness)
    c.remat = False  # recompute encoder and fusion activations in the backward pass
    c.utae = ConfigDict()
    c.utae.encoder_widths = (64, 64, 64, 128)  # channels at 1, 1/2, 1/4, 1/8 resolution; 2 to 8 levels
    c.utae.decoder_widths = (32, 32, 64, 128)
    c.utae.border = "reflect"  # convolution borders: reflect | zeros
    c.ltae = ConfigDict()
    c.ltae.heads = 16  # twice the heads divide ltae.width
    c.ltae.key_dim = 4  # per head
    c.ltae.width = 256  # d_model
    c.ltae.period = 1000.0  # base of the date sinusoid, days; 1 to 1,000,000
    c.ltae.dropout = 0.2  # probability, as every dropout: 0 to below 1
    c.ltae.attention_dropout = 0.1
    c.patch_ltae = ConfigDict()
    c.patch_ltae.input_widths = (32, 128)  # hidden widths of the patch MLP before ltae.width
    c.patch_ltae.output_widths = (256, 512)  # hidden widths after attention, before the token width
    c.vit = ConfigDict()
    c.vit.depth = 6
    c.vit.heads = 8
    c.vit.stem = "linear"  # linear (one dense layer a patch) | conv (strided 3x3 convolutions first)
    c.vit.dropout = 0.1
    c.resnet = ConfigDict()
    c.resnet.widths = (32, 64, 128, 256)  # channels at 1/2, 1/4, 1/8, 1/16 resolution; 2 to 8 levels
    c.resnet.blocks = 2  # residual blocks a resolution
    c.patch_cnn = ConfigDict()
    c.patch_cnn.blocks = 3
    c.location = ConfigDict()
    c.location.degrees = 10  # of the spherical harmonics, up to 40
    c.location.layers = 2  # of sine activations
    c.location.hidden = 256
    c.location.frequency = 30.0  # of the first sine; above 0
    c.decoder = ConfigDict()
    c.decoder.hidden = 256  # of masked reconstruction
    c.published = ConfigDict()  # defects of the published code, repaired (True) or kept (False)
    c.published.grid_positions = (
        True  # every modality lies on the grid of patches; False: the last tokens count as one square image
    )
    c.published.keep_position = True  # masked tokens keep their position
    c.published.mask_padding = True  # padded dates are not attended to
    c.published.train_tile = True  # the tile token takes part in reconstruction; False: it gets no gradient in pre-training
    c.skysense = ConfigDict()
    c.skysense.frame_width = 64  # channels of the spatial encoders
    c.skysense.depth = 4  # blocks of the temporal encoder over the dates of all modalities
    c.projection = ConfigDict()
    c.projection.hidden = 256
    c.projection.width = 128  # of the shared contrastive space
    c.fusion = ConfigDict()
    c.fusion.depth = 4  # self-attention blocks over the tokens of all modalities
    c.fusion.heads = 8
    c.fusion.mlp_ratio = 4  # hidden width of the MLPs in token widths, up to 16
    c.fusion.dropout = 0.1
    c.fusion.attention = "xla"  # xla | cudnn (GPU, bfloat16)
    c.head = ConfigDict()
    c.head.width = 64  # channels of the segmentation head at label resolution
    c.head.dropout = 0.1
    return c


def stage(*, steps: int, learning_rate: float) -> ConfigDict:
    """One stage of training."""
    s = ConfigDict()
    s.steps = steps  # optimizer steps; 0 = leave the stage out
    s.batch_size = 8  # tiles a step, over all devices
    s.num_microbatches = 1  # in how many equal parts, one after another, the tiles of a step go through the model: memory of one part
    s.learning_rate = learning_rate  # peak; above 0 up to 10
    s.warmup = 0.05  # share of the steps, 0 to 1, with rising learning rate; cosine decay afterwards
    s.weight_decay = 0.05  # AdamW, 0 to 10, matrices only (no biases, norms, positions)
    s.clip = 1.0  # global gradient norm above which gradients are scaled down, 0.001 to 1,000,000 (practically never)
    # Probability, below 1, that a present modality is hidden from a tile, never all of them, where one view of it is made of a subset: in
    # pre-training what the fused tokens see, in fine-tuning a second prediction beside that from everything.
    s.modality_dropout = 0.3
    s.log_every = 10  # steps
    s.eval_every = 1_000  # steps; 0 = only at the end
    s.save_every = 1_000  # steps
    s.keep = 2  # latest checkpoints kept (the best one is kept as well)
    return s


def modality(
    *, kind: str, channels: int, resolution: float, patch: int, encoder: str, dates_train: int = 0, dates_eval: int = 0
) -> ConfigDict:
    """One sensor. Its name has letters, digits and _; at most ten are configured at once."""
    m = ConfigDict()
    m.kind = kind  # series (T images with dates) | image (one) | location (of the tile's centre)
    m.channels = channels  # bands, up to 1024; 2 of a location
    m.resolution = resolution  # metres a pixel
    m.patch = patch  # pixels per token side; patch * resolution must agree between modalities
    m.encoder = encoder  # series: utae | patch_ltae; image: vit | resnet | patch_cnn; location: location
    m.dates_train = dates_train  # dates drawn a training step; 0 = the longest series of the data
    m.dates_eval = dates_eval  # evenly spaced dates in evaluation; 0 = all
    return m


def shrink(model: ConfigDict) -> None:
    """Sets the widths at which two CPU cores train in minutes."""
    model.width = 64
    model.utae.encoder_widths = (16, 32, 64)
    model.utae.decoder_widths = (16, 32, 64)
    model.ltae.heads = 8
    model.ltae.width = 64
    model.ltae.key_dim = 8
    model.ltae.dropout = 0.0
    model.ltae.attention_dropout = 0.0
    model.patch_ltae.input_widths = (32, 64)
    model.patch_ltae.output_widths = (64, 128)
    model.resnet.widths = (12, 24, 48)
    model.resnet.blocks = 1
    model.location.hidden = 64
    model.decoder.hidden = 64
    model.skysense.frame_width = 16
    model.skysense.depth = 1
    model.projection.hidden = 64
    model.projection.width = 32
    model.fusion.depth = 1
    model.fusion.heads = 4
    model.fusion.mlp_ratio = 2
    model.fusion.dropout = 0.0
    model.head.width = 48
    model.head.dropout = 0.0
