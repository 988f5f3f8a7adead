"""The configuration of the runs that are killed, stopped and moved: small, quick to compile.

configs for launch.py: tests/distributed/small_run.py:RAW_DIR,CACHE_DIR[,pretrain]
"""

from configs import pastis


def get_config(arguments):
    raw_dir, cache_dir, *more = arguments.split(",")
    config = pastis.get_config("omnisat_resnet,no_spot" if more else "utae")
    config.data.raw_dir, config.data.cache_dir = raw_dir, cache_dir
    model = config.model
    model.width = model.ltae.width = 16
    model.utae.encoder_widths = model.utae.decoder_widths = (8, 12)
    model.ltae.heads, model.ltae.key_dim = 2, 4
    model.ltae.dropout = model.fusion.dropout = 0.1  # randomness that a resumed run must draw again
    model.projection.hidden, model.projection.width = 16, 8
    model.fusion.heads, model.head.width = 2, 8
    model.patch_ltae.input_widths, model.patch_ltae.output_widths = (8,), (16,)
    if more:
        del config.modalities["s1d"]  # two series are enough to align
    for modality in config.modalities.values():
        if more:
            modality.encoder = "patch_ltae"  # a smaller program; the runs that only fine-tune have U-TAE
        modality.dates_train = modality.dates_eval = 4
    config.data.crop = 0
    model.head.unimodal, config.segmentation.unimodal_weight = "none", 0.0
    config.eval.batch_size, config.eval.panels, config.eval.calibrate = 4, 0, False
    config.contrastive.group_size = 4
    for stage in (config.pretrain, config.finetune):
        stage.steps, stage.batch_size, stage.learning_rate = min(stage.steps, 8), 4, 2e-3
        stage.log_every, stage.eval_every, stage.save_every, stage.keep = 1, 0, 2, 3
    return config
