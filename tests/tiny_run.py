"""Command-line options that make `emnat em` take seconds a stage, for configuration files of any kind."""

_MODEL = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "ff_width": 32, "heads": 2}
_TRAIN = {"steps": 10, "log_every": 10, "eval_every": 10, "checkpoint_every": 10}
_CHANGES = {
    "data.batch_tokens": 256,
    "data.decode_rows": 64,
    "em.rounds": 1,
    "em.candidates": 2,
    "em.rows": 60,
    "evaluation.ncm_rows": 32,
    "evaluation.samples": 2,
    **{f"{role}.{name}": value for role in ("teacher", "student") for name, value in _MODEL.items()},
    **{f"{role}_train.{name}": value for role in ("teacher", "student") for name, value in _TRAIN.items()},
}
TINY = [f"--config.{name}={value}" for name, value in _CHANGES.items()]
DEMO = ["--config.data.train_rows=200", "--config.vocab.size=400"]  # a small part of the bundled corpus
