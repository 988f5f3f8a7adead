"""Every configuration key of the project, once, with its unit and its default.

    python launch.py --config=configs/pastis.py --config.<key>=<value>

The dataset files beside this one start from `base()` and change values; none of them adds a key. `omnisat_jax/config/schema.py` declares
what each key may be and turns the result into typed, checked dataclasses. Every number is finite.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class ConfigDict(Any):
        """The keys of an `ml_collections.ConfigDict` have no static types; the schema checks them."""
else:
    from ml_collections import ConfigDict


def base() -> ConfigDict:
    """The default of every key."""
    c = ConfigDict()
    c.name = "base"  # of the run and of its default working directory runs/<name>; without / \\ [ ] * ?
    c.seed = 0  # 0 to 2**32 - 1; of initial weights, order of examples, augmentation and dropout
    c.task = "segment"  # segment (a class per pixel) | classify (several labels per tile)

    c.data = _data()
    c.modalities = ConfigDict()  # name -> modality(...), at most ten; one that the data lack is dropped and reported
    c.model = _model()
    c.pretrain_from = ""  # folder of a run, maybe gs://BUCKET/FOLDER, whose finished pre-training is used; "" = pre-train in this run
    c.pretrain = stage(steps=10_000, learning_rate=1e-3)
    c.finetune = stage(steps=10_000, learning_rate=1e-3)
    c.finetune.encoder_rate = 1.0  # factor, 0 to 1, of the learning rate (and decay) of what pre-training trains: encoders and fusion; 0 = frozen

    c.contrastive = ConfigDict()
    c.contrastive.weight = 1.0  # of the contrastive loss, 0 to 1000
    c.contrastive.granularities = ("patch",)  # any of patch, tile, pixel: what is compared; each is a loss of its own, and scores of the representation are of the first
    c.contrastive.pixels = 64  # pixels drawn per tile (granularity pixel)
    c.contrastive.views = ()  # modalities that are views; () = all
    c.contrastive.group_size = 0  # tiles that are compared with each other, whatever the device count; 0 = all tiles of the batch
    c.contrastive.implementation = "ring"  # ring (memory linear in rows, over all devices) | dense (all logits at once)
    c.contrastive.positives = "mean"  # how several enter: mean (of log-probabilities) | sum (logarithm of the sum of probabilities, as in OmniSat)
    c.contrastive.temperature = 0.1  # of the softmax, 0.001 to 100
    c.contrastive.learned_temperature = False  # learn it, between 0.01 and 1
    c.contrastive.batch_norm = False  # give each dimension of the embeddings of a view mean 0 and variance 1 over the batch
    c.contrastive.roll = True  # roll each modality by its own number of patches, so that the position in the tile does not identify a patch
    c.contrastive.jitter = 0.0  # standard deviation of a random gain and offset per tile and band, in those of the band, up to 2; 0 = none
    c.contrastive.jitter_days = 0.0  # standard deviation of a random shift of all dates of a series, in days, up to 366; 0 = none
    c.contrastive.fused = True  # the fused tokens of a random subset of the modalities are one more view
    c.reconstruction = ConfigDict()
    c.reconstruction.weight = 0.0  # of masked reconstruction beside the contrastive loss, up to 1000; 0 = none
    c.reconstruction.mask_ratio = 0.75  # share of the tokens that are hidden from fusion, below 1
    c.reconstruction.date_share = 0.25  # share of the dates of a series that are reconstructed, the most attended ones; above 0
    c.segmentation = ConfigDict()
    c.segmentation.dice_weight = 1.0  # 0 to 1000; loss = cross-entropy + dice_weight * Dice, without void pixels
    c.segmentation.label_smoothing = 0.0  # share of the cross-entropy that goes to all classes alike, 0 to below 1
    c.segmentation.unimodal_weight = 1.0  # of the mean loss of what each modality predicts by itself, up to 1000

    c.nonfinite_budget = 10  # steps with a non-finite loss that are skipped before the run stops

    c.mesh = ConfigDict()
    c.mesh.replica = -1  # copies that the slower network connects; -1 = one per TPU slice
    c.mesh.data = -1  # devices along the batch; -1 = all remaining ones, as far as they divide the batches of a single process
    c.mesh.fsdp = 1  # devices over which large parameters are sharded
    c.mesh.fsdp_min_size = 2**20  # elements; parameters with fewer are replicated

    c.eval = ConfigDict()
    c.eval.batch_size = 8  # tiles
    c.eval.panels = 4  # test tiles that are drawn as pictures, up to 1000
    c.eval.threshold = 0.5  # probability above which a tile label is predicted (classify), between 0 and 1
    c.eval.calibrate = True  # after fine-tuning, fit a temperature to the validation tiles; scores do not depend on it
    c.eval.probe = "none"  # none (fine-tune) | linear | knn: a probe of the frozen pre-trained tokens instead of fine-tuning
    c.eval.probe_tokens = 20_000  # training tokens that a probe is fitted to, at most
    c.eval.probe_neighbours = 20  # neighbors of the k-NN probe
    # During pre-training: training tiles that a k-NN of the tokens is fitted to, and validation tiles on which it is scored and drawn; 0 = none.
    c.eval.monitor_tiles = 64
    return c


def _data() -> ConfigDict:
    """Where tiles come from and how they are read."""
    c = ConfigDict()
    c.dataset = "pastis"  # a folder of data/: pastis | treesat | flair | tiles
    c.raw_dir = ""  # raw dataset; "" = simulate one, if data.simulated.tiles > 0; may be gs://BUCKET/FOLDER
    c.prepared_dir = ""  # records of `python -m data.prepare`; "" = prepare raw_dir; may be gs://BUCKET/FOLDER
    c.cache_dir = "runs/cache"  # where simulated tiles and prepared records are kept
    c.mirror_dir = ""  # where each host copies data that lie in a bucket (gs://BUCKET/FOLDER); "" = <cache_dir>/mirrors
    c.mirror_gb = 0.0  # GB that these copies may have together, the longest unused go first; 0 = what the disk has, for raw files half of it
    c.nomenclature = ""  # set of classes, for datasets with several (flair: 12 | 13 | 19); "" = its default
    c.on_bad = "raise"  # of a broken file: raise | skip (leave out its tile) | mask (its modality is absent)
    c.max_bad = 0.05  # largest share of tiles with a broken file, 0 to 1
    c.unlabelled = "refuse"  # tiles without labels: refuse (their labels are missing, a fault of the data) | pretrain (they serve pre-training only)
    c.pretrain_dirs = ""  # further records of `python -m data.prepare`, joined by commas and maybe in buckets, all of whose tiles serve pre-training only; "" = none
    c.pretrain_weights = ()  # shares of the examples of pre-training: of the main data, then of each of pretrain_dirs; () = by number of tiles
    c.float16 = False  # store float32 modalities as float16 (for radar in dB the error is below 0.016 dB)
    c.statistics = "all"  # dates of reflectance in the statistics of normalization: all | clear (those that do not look cloudy)
    c.label_share = 1.0  # share of the training tiles with labels in fine-tuning, above 0; pre-training uses all tiles
    c.protocol = "auto"  # auto | official_5fold | single_split | tile_f1 | leave_one_fold_out | fixed
    c.fold = 1  # of the protocol, from 1
    c.origin = "2018-09-01"  # day 0 of dates: YYYY-MM-DD (1900 to 2100) | season (the 1 September before a tile's dates) | year (1 January)
    c.crop = 0  # side of a training crop in label pixels; 0 = the whole tile
    c.augment = "d4"  # d4 (flips and rotations, the same for all modalities of a tile) | none
    c.void_test_parcels = False  # training pixels of parcels that also lie in test tiles become void
    c.threads = 2  # reading threads, up to 256
    c.buffer = 4  # batches that are read in advance, up to 64, all in memory
    c.simulated = ConfigDict()
    c.simulated.tiles = 0  # tiles to simulate if raw_dir is empty; 0 = none
    c.simulated.tile_size = 128  # pixels per side (of 10 m; flair and treesat: 0.2 m), up to 1024
    c.simulated.seed = 0  # 0 to 2**32 - 1
    return c


def _model() -> ConfigDict:
    """The architecture and the sizes of its parts."""
    c = ConfigDict()
    c.architecture = "omnisat"  # omnisat | early, late, dual (series only, no pre-training) | published (classify only) | skysense
    c.width = 256  # D, token width; a multiple of 4 and of the heads of vit and fusion
    c.precision = "auto"  # of the computation: auto (bfloat16 on GPU and TPU, float32 on CPU) | float32 | bfloat16
    c.norm = "image"  # after convolutions: image (GroupNorm over each image) | pixel (LayerNorm of each pixel: keeps differences between images)
    c.remat = False  # recompute the activations of encoders and fusion in the backward pass
    c.utae = ConfigDict()
    c.utae.encoder_widths = (64, 64, 64, 128)  # channels at 1, 1/2, 1/4, 1/8 resolution; 2 to 8 levels
    c.utae.decoder_widths = (32, 32, 64, 128)
    c.utae.border = "reflect"  # padding of convolutions: reflect | zeros
    c.ltae = ConfigDict()
    c.ltae.heads = 16  # twice the heads divide ltae.width
    c.ltae.key_dim = 4  # per head
    c.ltae.width = 256  # of the input to attention (d_model)
    c.ltae.period = 1000.0  # base of the sinusoids of dates, days, 1 to 1,000,000
    c.ltae.dropout = 0.2  # probability, 0 to below 1, as every dropout
    c.ltae.attention_dropout = 0.1
    c.patch_ltae = ConfigDict()
    c.patch_ltae.input_widths = (32, 128)  # hidden widths of the patch MLP before ltae.width
    c.patch_ltae.output_widths = (256, 512)  # hidden widths after attention, before the token width
    c.temporal_first = ConfigDict()
    c.temporal_first.times = 36  # learned reference times
    c.temporal_first.days = 420.0  # the reference times start evenly spaced from day 0 to this day; above 0
    c.temporal_first.date_width = 16  # channels computed of each date, beside the bands
    c.temporal_first.width = 128  # channels after attention
    c.temporal_first.blocks = 4  # residual 3x3 convolutions after attention
    c.temporal_first.dropout = 0.1
    c.vit = ConfigDict()
    c.vit.depth = 6
    c.vit.heads = 8
    c.vit.stem = "linear"  # linear (one dense layer per patch) | conv (strided 3x3 convolutions before it)
    c.vit.dropout = 0.1
    c.resnet = ConfigDict()
    c.resnet.widths = (32, 64, 128, 256)  # channels at 1/2, 1/4, 1/8, 1/16 resolution; 2 to 8 levels
    c.resnet.blocks = 2  # residual blocks per resolution
    c.resnet.texture_radius = 0  # radius, in pixels, of windows whose differences and variance are further bands of the image, up to 15; 0 = none
    c.patch_cnn = ConfigDict()
    c.patch_cnn.blocks = 3
    c.location = ConfigDict()
    c.location.degrees = 10  # of the spherical harmonics, up to 40
    c.location.layers = 2  # with sine activations
    c.location.hidden = 256
    c.location.frequency = 30.0  # of the first sine, above 0
    c.decoder = ConfigDict()
    c.decoder.hidden = 256  # width of the MLP of masked reconstruction
    c.published = ConfigDict()  # defects of the published code: repaired (True) or kept (False)
    # Relative positions on the grid of patches for every modality; False: the last tokens of all modalities are taken for one square image.
    c.published.grid_positions = True
    c.published.keep_position = True  # masked tokens keep their position
    c.published.mask_padding = True  # padded dates are not attended to
    c.published.train_tile = True  # the tile token takes part in reconstruction; False: pre-training gives it no gradient
    c.skysense = ConfigDict()
    c.skysense.frame_width = 64  # channels of the spatial encoders
    c.skysense.depth = 4  # blocks of the temporal encoder over the dates of all modalities
    c.projection = ConfigDict()
    c.projection.hidden = 256
    c.projection.width = 128  # of the shared contrastive space
    c.fusion = ConfigDict()
    c.fusion.depth = 4  # self-attention blocks over the tokens of all modalities
    c.fusion.heads = 8
    c.fusion.mlp_ratio = 4  # hidden width of the MLPs, in token widths, up to 16
    c.fusion.dropout = 0.1
    c.fusion.attention = "auto"  # auto (cudnn where it is faster) | xla | cudnn (GPU in bfloat16 only)
    c.head = ConfigDict()
    c.head.width = 64  # channels of the segmentation head at label resolution
    c.head.unimodal = "mean"  # segmentation: mean | sum, added to the logits, of those of a linear layer of each present modality with a dense map | none
    c.head.dropout = 0.1
    return c


def stage(*, steps: int, learning_rate: float) -> ConfigDict:
    """The keys of one stage of training."""
    s = ConfigDict()
    s.steps = steps  # optimizer steps; 0 = skip the stage
    s.batch_size = 8  # tiles per step, over all devices
    s.num_microbatches = 1  # the tiles of a step go through the model in this many equal groups, with the memory of one
    s.learning_rate = learning_rate  # peak, above 0, up to 10
    s.warmup = 0.05  # share of the steps in which the learning rate rises, 0 to 1; then cosine decay
    s.weight_decay = 0.05  # of AdamW, 0 to 10; of matrices only, not of biases, norms and positions
    s.clip = 1.0  # global norm to which larger gradients are scaled, 0.001 to 1,000,000 (practically none)
    s.ema_decay = 0.0  # of a moving average of the parameters, which is evaluated and handed on in their place; below 1; 0 = none
    # Probability, below 1, with which each present modality of a tile is hidden, though never all of them: from the fused tokens in
    # pre-training; in fine-tuning from a second prediction, which is trained beside the one that sees everything.
    s.modality_dropout = 0.3
    s.log_every = 10  # steps
    s.eval_every = 1_000  # steps; 0 = only at the end
    s.save_every = 1_000  # steps
    s.keep = 2  # latest checkpoints kept (the best one is kept as well)
    return s


def modality(*, kind: str, channels: int, resolution: float, patch: int, encoder: str) -> ConfigDict:
    """The keys of one sensor. Its name consists of letters, digits and _."""
    m = ConfigDict()
    m.kind = kind  # series (images with dates) | image (a single one) | location (of the center of the tile)
    m.channels = channels  # bands, up to 1024; 2 for a location
    m.resolution = resolution  # meters per pixel
    m.patch = patch  # pixels per token side; patch * resolution must be the same for all modalities
    m.encoder = encoder  # series: utae | patch_ltae | temporal_first; image: vit | resnet | patch_cnn; location: location
    m.dates_train = 0  # dates drawn per training step (series); 0 = the length of the longest series
    m.dates_eval = 0  # evenly spaced dates in evaluation (series); 0 = all
    return m


def set_small_widths(model: ConfigDict) -> None:
    """Replaces the sizes of `config.model` by ones that train on two CPU cores in minutes."""
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
    model.temporal_first.times = 24
    model.temporal_first.date_width = 6
    model.temporal_first.width = 32
    model.temporal_first.blocks = 2
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
