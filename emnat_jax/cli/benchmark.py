"""Honest timings, of several systems in turns: one sentence or batch, whole texts, distillation, training.

`latency` times batches of exactly N sentences of similar length from raw lines to raw translations: median,
95th percentile and mean of at least 20 calls. `throughput` translates a whole text at once, in the best
batches found for each system. `distill` does so with the sources of the training set, tokens to tokens, and
searches for the N best. BLEU is of the sentences that were timed. Compilation and warm-up are left out. All
systems take turns (A B C A B C ...), so that a busy machine slows all of them alike.

A system is MODEL[:BACKEND[:PRECISION]][:OPTION=VALUE...]. MODEL is teacher or student, or the folder of a
trained or exported model (StableHLO by its folder alone); BACKEND jax (the default), onnx or ctranslate2;
PRECISION int8 or float32, of an exported model; an OPTION decoder, round, length_candidates, rescore, what
decoder=verified takes (draft, draft_block, redraft=yes, accept_top, accept_margin), or the shortlist of an
export as ONNX in int8. An exported model of a role lies in WORKDIR/exports and is made first where it is
missing. Without --systems it is the model of --role or --model.

--random takes no workdir: models of a size with random weights, whose outputs have --length tokens (of `ctc`
and `dag`: as many as their weights give). MODEL is a family, an OPTION decoder, layers (e.g. 12+1), dtype or
shortlist.
Without --systems and --families it compares what README's table has; `latency --random` takes 32 sentences,
--batch=1,32 and --vocab=32000 unless told.

`train` times the compiled step of a role's configuration on random tokens: the mean of steps that follow one
another without a wait, as in training.

`growth` measures time and peak memory of each stage while one quantity grows (sentences of the corpus,
length, batch, candidates, vocabulary), each place in a process of its own, and fits the exponent. Models have
random weights and one layer a side, sentences are made up. A place takes seconds.

Examples:
  emnat benchmark latency --threads=1 --systems=teacher,student,student:onnx:int8,teacher:ctranslate2:int8
  emnat benchmark latency --workdir=runs/demo --role=student --round=1 --batch=1,8,32
  emnat benchmark throughput --systems=student:onnx:int8,student:jax:decoder=beam
  emnat benchmark latency --random --threads=1 --size=base --vocab=32000 --families=vanilla,ctc,dag --batch=1
  emnat benchmark latency --random --threads=1        (README's table: base, an engine's greedy search first)
  emnat benchmark latency --random --systems=ar:ctranslate2:int8:layers=12+1,vanilla:onnx:int8
  emnat benchmark distill --num-candidates=1,8 --systems=teacher:decoder=greedy,teacher:ctranslate2:int8
  emnat benchmark train --role=student --config.student.width=512 --config.student.ff_width=2048
  emnat benchmark growth --stages=prepare,select --vary=sentences --output=growth
"""

import argparse
from typing import TYPE_CHECKING, Any

from emnat_jax.cli.benchmark_growth import BASE, ONLY_GROWTH, add_growth, run_growth
from emnat_jax.cli.benchmark_systems import Measured, measured_systems
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.model import add_model, refuse_model_options, require_one_name
from emnat_jax.cli.options import DEFAULT_WORKDIR, add_json, add_workdir
from emnat_jax.cli.streams import show
from emnat_jax.cli.workspace import open_workspace
from emnat_jax.config import SIZES
from emnat_jax.config.verified import DRAFTING
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.cores import bind_to_cores
from emnat_jax.runtime.processes import Processes

if TYPE_CHECKING:
    from emnat_jax.em.workdir import Workspace

COUNTS = ("rows", "length", "repeats", "sentences", "passes")
# Options that some kinds of benchmark have alone.
KINDS = {
    "batch": ("latency", "growth"),
    "sentences": ("latency", "throughput", "distill", "growth"),
    "passes": ("throughput", "distill"),
    "num_candidates": ("distill", "growth"),
    "rows": ("train",),
    "repeats": ("train",),
    **dict.fromkeys(ONLY_GROWTH, ("growth",)),
}
_OF_GROWTH = {"growth": BASE["sentences"]}
SENTENCES = {"latency": 128, "throughput": 1_000, "distill": 1_000}  # timed unless told
# Of the options whose default depends on what is measured; `growth` has its own.
DEFAULTS = {"batch": "1,8,32,128", "num_candidates": "1,8", "length": 25, "vocab": 10_000, "size": "base"}
DEFAULTS |= {"rows": 64, "repeats": 10, "passes": 5}
# `latency --random` as README has it: sentences of 25 tokens, one at a time and in batches.
SPEED_TABLE_OPTIONS = {"batch": "1,32", "sentences": 32, "vocab": 32_000}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat benchmark`."""
    parser.add_argument("what", choices=("latency", "throughput", "distill", "train", "growth"))
    add_workdir(parser)
    text = "cores of this process and threads of an exported model; default: all that there are"
    parser.add_argument("--threads", type=int, metavar="N", help=text)
    parser.add_argument(
        "--systems", metavar="A,B,...", help="what is timed in turns; the first is compared with"
    )
    add_model(parser)
    _add_sample(parser)
    _add_random(parser)
    group = parser.add_argument_group("train")
    group.add_argument("--rows", type=int, metavar="N", help="of each process; default: 64")
    group.add_argument("--repeats", type=int, metavar="N", help="steps; default: 10")
    add_growth(parser)
    add_json(parser, "the timings")


def _add_sample(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("latency, throughput, distill")
    group.add_argument("--batch", metavar="N[,N]", help=f"latency: sizes; {_default('batch')}")
    counts = ", ".join(f"{name} {count}" for name, count in (SENTENCES | _OF_GROWTH).items())
    group.add_argument("--sentences", type=int, metavar="N", help=f"default: {counts}")
    group.add_argument("--passes", type=int, metavar="N", help="not latency: timed; default: 5")
    text = f"distill: translations of each source; {_default('num_candidates')}"
    group.add_argument("--num-candidates", metavar="N[,N]", help=text)


def _add_random(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("random weights (train and growth have no others)")
    group.add_argument("--random", action="store_true", help="models with random weights, without a workdir")
    group.add_argument("--size", choices=SIZES, help=f"--random; {_default('size')}")
    text = "--random: `ar` and these, in JAX and exported, in place of --systems; growth: one (vanilla)"
    group.add_argument("--families", metavar="A,B", help=text)
    group.add_argument("--length", type=int, metavar="N", help=f"tokens; {_default('length')}")
    group.add_argument("--vocab", type=int, metavar="N", help=f"ids; {_default('vocab')}")


def _default(name: str) -> str:
    """For a help text."""
    return f"default: {DEFAULTS[name]}, of growth {BASE[name]}"


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    _check(args, processes)
    if args.threads is not None:
        bind_to_cores(args.threads)  # before JAX, which starts its threads when it is imported
    if args.what == "growth":
        require(not config_arguments, "growth has models of --size: leave out --config.")
        run_growth(args)  # in processes of its own; JAX is not imported here
        return
    if args.what != "train":
        refuse_model_options(config_arguments)
    work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
    if args.what == "train":
        _show_training(work, args)
        return
    with measured_systems(work, args) as measured:
        {"latency": _latency, "throughput": _throughput, "distill": _distill}[args.what](measured, args)


def _check(args: argparse.Namespace, processes: Processes) -> None:
    """UserError for numbers out of range, and for options that do not go together."""
    from emnat_jax.tokens import NUM_SPECIAL

    _check_kinds(args, processes)
    for name, value in _defaults(args).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    for name in COUNTS:
        require(getattr(args, name) >= 1, f"--{name}={getattr(args, name)}: use 1 or more.")
    require(args.vocab > NUM_SPECIAL, f"--vocab={args.vocab}: use more than the {NUM_SPECIAL} special ids.")
    args.batch, args.num_candidates = numbers("batch", args), numbers("num_candidates", args)


def _defaults(args: argparse.Namespace) -> dict[str, Any]:
    if args.what == "growth":
        return {**DEFAULTS, **BASE}
    found = {**DEFAULTS, "sentences": SENTENCES.get(args.what, 1)}
    return {**found, **SPEED_TABLE_OPTIONS} if args.random and args.what == "latency" else found


def _check_kinds(args: argparse.Namespace, processes: Processes) -> None:
    """UserError for options of another kind of benchmark or of models."""
    alone = args.what == "train" or processes.count == 1
    require(alone, f"{args.what} is of one process; start it on one host, without the others.")
    for what, measured in (("train", "a role's configuration"), ("growth", "its stages with random weights")):
        no_systems = args.what != what or not (args.systems or args.random)
        require(no_systems, f"{what} times {measured}: leave out --systems and --random.")
    for name, kinds in KINDS.items():
        fits = args.what in kinds or getattr(args, name) is None
        require(fits, f"{_option(name)} is of {' and '.join(kinds)}: leave it out.")
    text = "--workdir: growth makes its models, texts and runs itself; leave it out."
    require(args.what != "growth" or args.workdir == DEFAULT_WORKDIR, text)
    _check_models(args)


def _check_models(args: argparse.Namespace) -> None:
    """UserError for options of trained models beside random weights, and the other way round."""
    trains, without = args.what == "train", args.random or args.what == "growth"
    for name in ("families", "size") if trains else ("families", "size", "length", "vocab"):
        remedy = "leave it out" if trains else "add --random"
        fits = without or getattr(args, name) is None
        require(fits, f"--{name} is of models with random weights: {remedy}.")
    remedy = "leave out --random, or use --systems" if args.random else "leave it out"
    for name in ("role", "model", "round", "decoder", "length_candidates", "rescore", *DRAFTING):
        taken, has_none = getattr(args, name) is not None, without or (trains and name != "role")
        require(not (taken and args.systems), f"{_option(name)}: put it into the names of --systems.")
        require(not (taken and has_none), f"{_option(name)} is of trained models: {remedy}.")
    if not args.systems:
        require_one_name(args)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def numbers(name: str, args: argparse.Namespace) -> list[int]:
    """The numbers of an option that takes several. UserError for anything else."""
    text = getattr(args, name)
    found = [int(part) if part.isdigit() else 0 for part in text.split(",")]
    if min(found) < 1 or len(set(found)) < len(found):
        raise UserError(f"{_option(name)}={text}: give different numbers of at least 1, e.g. 1,64.")
    return found


def _show_training(work: "Workspace", args: argparse.Namespace) -> None:
    from emnat_jax.profiling.benchmark import BatchShape, measure_loss, measure_training
    from emnat_jax.profiling.machine import this_machine

    role, here = work.config.role(args.role or "student"), this_machine(())
    model = role.model.resolve(args.vocab, args.length)
    shape = BatchShape(args.rows, args.length, args.length)
    timing = measure_training(model, role.train, work.layout, shape, args.repeats)
    loss_ms = measure_loss(model, shape, args.repeats)
    measured = {**shape._asdict(), **vars(timing), "loss_alone_ms": loss_ms}
    about = {"devices": here.devices, "cores": here.cores, "cpu": here.cpu, "jax": here.versions["jax"]}
    show({**about, **measured}, args.json)


def _latency(measured: Measured, args: argparse.Namespace) -> None:
    from emnat_jax.profiling.latency import measure_latency
    from emnat_jax.report.speed_text import latency_text

    found = measure_latency(measured.systems, measured.sample, args.batch, measured.note)
    timings = [
        measured.timing(system, batches) for system, batches in zip(measured.systems, found, strict=True)
    ]
    _keep_and_show(measured, timings, latency_text(timings), args)


def _throughput(measured: Measured, args: argparse.Namespace) -> None:
    _show_rates(measured, args, [1])


def _distill(measured: Measured, args: argparse.Namespace) -> None:
    _show_rates(measured, args, args.num_candidates)


def _show_rates(measured: Measured, args: argparse.Namespace, candidates: list[int]) -> None:
    """Each system with each number of candidates."""
    from emnat_jax.profiling.throughput import Search, measure_throughput
    from emnat_jax.report.speed_text import throughput_text

    searches = [Search(system, count) for count in candidates for system in measured.systems]
    rates = measure_throughput(searches, measured.sample, measured.machine, args.passes, measured.note)
    _keep_and_show(measured, rates, throughput_text(rates), args)


def _keep_and_show(measured: Measured, timings: list[Any], text: str, args: argparse.Namespace) -> None:
    """Those of trained models are kept for the report's page as well."""
    from emnat_jax.em.timings import keep_timing
    from emnat_jax.report.convert import SCHEMA_VERSION

    for timing in () if args.random else timings:
        keep_timing(measured.work.directory, timing)
    if args.json:
        show({"schema_version": SCHEMA_VERSION, "timings": timings}, as_json=True)
    else:
        print(text)
