"""Options that name a trained model and how it decodes, and the function that they stand for."""

from collections.abc import Callable

from emnat_jax.errors import UserError


def add_model(parser) -> None:
    """`--role`, `--round` or `--model`; `--decoder`, `--length-candidates`, `--rescore`."""
    parser.add_argument(
        "--role",
        choices=("teacher", "student"),
        default="student",
        help="teacher or student; default: student",
    )
    parser.add_argument("--round", type=int, metavar="N", help="default: the last finished round")
    parser.add_argument(
        "--model", metavar="DIR", help="folder of a finished model, instead of role and round"
    )
    parser.add_argument(
        "--decoder",
        help="ar: greedy, beam; vanilla: odd, argmax; cmlm: mask_predict, single_pass; ctc: greedy, beam; "
        "dag: greedy, lookahead, viterbi, joint_viterbi, beam; default: the model's own",
    )
    parser.add_argument(
        "--length-candidates",
        type=int,
        metavar="N",
        help="vanilla, cmlm: lengths decoded in parallel; with --rescore, for any student: hypotheses to choose from",
    )
    parser.add_argument(
        "--rescore",
        metavar="self|teacher|DIR",
        help="who chooses among a student's hypotheses; teacher: that of the same round",
    )


def load_model(work, args) -> Callable[[list[str]], list[str]]:
    """The function from lines to translations that the options of `add_model` ask for."""
    from emnat_jax.families import with_decoder

    def change(model):
        if args.decoder is not None:
            model = with_decoder(model, args.decoder)
        return model if args.length_candidates is None else _with_lengths(model, args)

    model = work.load(_directory(work, args, args.role), change)
    if args.rescore in (None, "self"):
        return lambda lines: model.system.translate(model.params, lines, work.vocabulary)
    from emnat_jax.inference.model import translate_lines

    teacher = work.load(_directory(work, args, "teacher") if args.rescore == "teacher" else args.rescore)
    own = _lengths(model.system.model) or 1
    count = args.length_candidates or max(own, work.config.evaluation.rescored_candidates)

    def rescored(pairs):
        return model.system.decode_rescored(model.params, pairs, count, teacher.system, teacher.params)

    return lambda lines: translate_lines(rescored, lines, work.vocabulary, model.system.model.max_length)


def _lengths(model) -> int | None:
    """Lengths that a model decodes in parallel; None where its family has no such option."""
    return getattr(getattr(model, model.decodes_as), "length_candidates", None)


def _with_lengths(model, args):
    if args.length_candidates < 1:
        raise UserError(f"--length-candidates={args.length_candidates}: use 1 or more.")
    if _lengths(model) is None:
        if args.rescore in (None, "self"):
            raise UserError(
                f"--length-candidates: the family {model.decodes_as} decodes one length of its own."
            )
        return model
    return model.with_options(model.decodes_as, length_candidates=args.length_candidates)


def _directory(work, args, role: str):
    if args.model is not None and role == args.role:
        return args.model
    # A teacher that rescores is that of the student's round.
    of = role if args.model is not None else args.role
    return work.round_folder(last_round(work, of) if args.round is None else args.round, role)


def last_round(work, role: str) -> int:
    """The newest round with a finished model; UserError where there is none."""
    from emnat_jax.artifacts.manifest import is_finished

    rounds = [path for path in (work.directory / "rounds").glob("*") if path.name.isdigit()]
    finished = [int(path.name) for path in rounds if is_finished(path / role)]
    if not finished:
        raise UserError(
            f"{work.directory} has no finished {role} model; run `emnat em` or `emnat train` first."
        )
    return max(finished)
