"""Compile every step of an EM round for a TPU slice, on a machine that has none (needs the extra `tpu`).

Prints for each step what it needs of a chip's memory, its operations and bytes, its collectives, what bounds
it and how long the round's stages take at that bound. Ends with status 2 when something does not fit.

Examples:
  emnat compile --topology=v5e:2x4
  emnat compile --topology=v5e:16x16 --config=configs/wmt14_en_de.py --pairs=4500000 \\
    --config.data.batch_tokens=2097152 --config.data.row_multiple=256
"""

from emnat_jax.cli.options import add_workdir, read_config, show
from emnat_jax.errors import UserError


def add_arguments(parser):
    add_workdir(parser)
    parser.add_argument("--topology", required=True, metavar="CHIP:SHAPE", help="e.g. v5e:2x4, v5p:4x4x4")
    parser.add_argument(
        "--steps", metavar="TEXT[,TEXT]", help="only steps whose name holds a text, e.g. train"
    )
    parser.add_argument("--pairs", type=int, metavar="N", help="of the corpus; default: data.train_rows")
    parser.add_argument(
        "--tokens", type=int, default=28, metavar="N", help="target tokens of a pair; default: 28"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args, config_arguments):
    from emnat_jax.training.aot import prepare_environment, slice_devices

    prepare_environment()
    config = read_config(config_arguments, args.workdir)
    from emnat_jax.em.aot import make_slice, round_steps, step_figures

    there = make_slice(config.mesh, slice_devices(args.topology))
    steps = round_steps(config, config.vocab.size, there)
    wanted = args.steps.split(",") if args.steps else [""]
    steps = {name: step for name, step in steps.items() if any(text in name for text in wanted)}
    if not steps:
        raise UserError(f"--steps={args.steps}: no step has such a name.")
    pairs = args.pairs or config.data.train_rows
    figures = {"topology": args.topology, "chips": there.chips, "hosts": there.hosts,
               "mesh": dict(there.whole.mesh.shape)}  # fmt: skip
    for name, step in steps.items():
        found = step_figures(step, there)
        if found["fits"]:
            found["hours"] = _hours(name, found, config, pairs, args.tokens)
        figures[name] = found
        if not args.json:
            show({name: found}, False)
    show(figures if args.json else {k: v for k, v in figures.items() if k not in steps}, args.json)
    _refuse_what_does_not_fit(figures, steps, args.topology)


def _hours(name: str, found: dict, config, pairs: int | None, tokens: int) -> float | None:
    """Of the stage in round 0 at the bound: all updates, or one pass over the corpus; None: its size is unknown."""
    if name.startswith("train"):
        train = config.teacher_train if name == f"train {config.teacher.family}" else config.student_train
        batch = found["target_tokens_per_second"] * max(found["bounds_ms"].values()) / 1e3
        return train.steps * batch / found["target_tokens_per_second"] / 3600
    if pairs is None:
        return None
    candidates = config.em.candidates if name.startswith("score") else 1
    return pairs * candidates * tokens / found["target_tokens_per_second"] / 3600


def _refuse_what_does_not_fit(figures: dict, steps: dict, topology: str) -> None:
    large = [name for name in steps if not figures[name]["fits"]]
    if large:
        raise UserError(
            f"does not fit {topology}: {', '.join(large)}. For training lower data.batch_tokens, raise train.accumulate or "
            "set MODEL.remat=True; for decoding and scoring lower data.decode_rows; for both spread the weights with "
            "mesh.fsdp or mesh.model."
        )
