"""WMT14 English-German at `base` for a pod of 256 chips: steps of two million tokens, layers scanned.

    emnat compile --config=configs/wmt14_pod.py --topology=v5e:16x16 --pairs=4500000
    emnat em --config=configs/wmt14_pod.py --workdir=gs://BUCKET/wmt14 --on-all-hosts   # on every host

Fits v5e:16x16, with 2.1 of 16 GiB a chip in training (docs/compile.md); not for a GPU. Compiled, never run
on a slice: time and score are not measured.
"""

from emnat_jax.config.convert import load_sibling


def get_config():
    config = load_sibling(__file__, "wmt14_en_de").get_config()
    config.data.buckets = (31, 63, 127)  # with the length slot 32, 64, 128: 129 would take the room of 256
    config.data.batch_tokens = 2_097_152  # 64 pairs of the widest bucket on each of 256 chips
    config.data.row_multiple = 256
    config.data.decode_rows = 32
    for model in (config.teacher, config.student):
        model.scan_layers = model.remat = True  # what is saved for later costs more than to compute it again
    for train in (config.teacher_train, config.student_train):
        train.steps = 20_000
        train.eval_every = train.checkpoint_every = 1_000
    return config
