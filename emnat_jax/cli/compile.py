"""Compile the training, decoding and scoring programs of a round for a TPU slice that is not here.

Needs the extra `tpu`. Prints for each program what it needs of a chip's memory, its operations and bytes, its
collectives, what bounds it and how long the round's stages take at that bound (docs/compile.md explains the
arithmetic). Ends with status 2 when something does not fit.

Examples:
  emnat compile --topology=v5e:2x4
  emnat compile --topology=v5e:16x16 --config=configs/wmt14_pod.py --pairs=4500000
"""

import argparse
from typing import TYPE_CHECKING

from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.streams import show
from emnat_jax.config import Config
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.processes import Processes

if TYPE_CHECKING:
    from emnat_jax.profiling.round import Cost, Refusal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat compile`."""
    add_workdir(parser)
    parser.add_argument("--topology", required=True, metavar="CHIP:SHAPE", help="e.g. v5e:2x4, v5p:4x4x4")
    parser.add_argument("--slices", type=int, default=1, metavar="N", help="that are joined; default: 1")
    parser.add_argument(
        "--steps", metavar="TEXT[,TEXT]", help="only steps whose name holds a text, e.g. train"
    )
    parser.add_argument("--pairs", type=int, metavar="N", help="of the corpus; default: data.train_rows")
    parser.add_argument(
        "--tokens", type=int, default=28, metavar="N", help="target tokens of a pair; default: 28"
    )
    parser.add_argument(
        "--largest",
        type=int,
        default=0,
        metavar="N",
        help="also print the N parts of a step that take longest",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="optimise as a run does: about three times slower, about half the traffic",
    )
    add_json(parser, "the costs")


def _vocabulary_size(config: Config) -> int:
    """Pieces of the vocabulary that is named; else as many as one may have."""
    from emnat_jax.data.vocab import open_vocabulary

    return config.vocab.size if config.vocab.path is None else open_vocabulary(config.vocab.path).size


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    from emnat_jax.profiling.aot import prepare_environment, slice_devices

    for name, least in (("slices", 1), ("tokens", 1), ("pairs", 1), ("largest", 0)):
        value = getattr(args, name)
        require(value is None or value >= least, f"--{name}={value}: use {least} or more.")
    prepare_environment(full=args.full)
    config = read_config(config_arguments, args.workdir)
    from emnat_jax.profiling.round import Workload, make_slice, program_costs, round_programs

    there = make_slice(config.mesh, slice_devices(args.topology, args.slices))
    programs = round_programs(config, _vocabulary_size(config), there)
    wanted = args.steps.split(",") if args.steps else [""]
    known = ", ".join(programs)
    programs = {name: one for name, one in programs.items() if any(text in name for text in wanted)}
    require(bool(programs), f"--steps={args.steps}: no step has such a name; there are {known}.")
    workload = Workload(args.pairs or config.data.first_lines, args.tokens)
    mesh = dict(there.layout.mesh.shape)
    if not args.json:
        print(f"{args.topology}: {there.chips} chips, {there.hosts} hosts, mesh {mesh}")
    costs: dict[str, Cost | Refusal] = {}
    for name, program in programs.items():
        costs[name] = found = program_costs(program, there, workload)
        if not args.json:
            print(_lines(name, found, args.largest), flush=True)
    if args.json:
        place = {"topology": args.topology, "slices": args.slices, "chips": there.chips, "hosts": there.hosts}
        show(place | {"mesh": mesh, "steps": costs}, as_json=True)
    _refuse_what_does_not_fit(costs, args.topology)


def _lines(name: str, found: "Cost | Refusal", largest: int) -> str:
    """What a person reads of one step."""
    from emnat_jax.profiling.round import Refusal

    if isinstance(found, Refusal):
        return f"{name}: DOES NOT FIT: {found.refusal}"
    gib = 2**30
    bounds = ", ".join(f"{kind} {value:.3g}" for kind, value in found.bounds_ms.items())
    moved = ", ".join(f"{count} {kind}" for kind, count in found.collectives.items()) or "none"
    hours = "" if found.hours is None else f"; the stage {found.hours:.3g} h"
    lines = [
        f"{name}: {'fits' if found.fits else 'DOES NOT FIT'}, {found.peak_bytes / gib:.2f} of "
        f"{found.chip_bytes / gib:.0f} GiB a chip, {found.pairs_per_call} rows of the slice "
        f"({found.compile_seconds:.0f} s to compile)",
        f"  {found.flops / 1e9:.4g} GFLOP, {found.hbm_bytes / 1e9:.4g} GB of memory traffic a chip; "
        f"collectives: {moved}, {found.link_bytes / 1e6:.4g} MB sent",
        f"  at best, ms: {bounds}; matrix units busy {found.compute_share:.0%} of it, "
        f"{found.target_tokens_per_second:.4g} target tokens/s{hours}",
    ]
    parts = list(found.largest_ms.items())[:largest]
    return "\n".join([*lines, *(f"  {value:8.3f} ms  {source}" for source, value in parts)])


def _refuse_what_does_not_fit(costs: dict[str, "Cost | Refusal"], topology: str) -> None:
    large = {name: found.remedy for name, found in costs.items() if not found.fits}
    if large:
        what_to_do = " ".join(f"{name}: {remedy}." for name, remedy in large.items())
        raise UserError(f"does not fit {topology}: {', '.join(large)}. {what_to_do}")
