"""Make the vocabulary and the records of the train, valid and test splits in a workdir.

Examples:
  emnat prepare --workdir=runs/demo
  emnat prepare --workdir=runs/mine --config.data.kind=text \\
    --config.data.train_source=train.de.gz --config.data.train_target=train.en.gz \\
    --config.data.valid_source=valid.de --config.data.valid_target=valid.en \\
    --config.data.test_source=test.de --config.data.test_target=test.en
"""

from emnat_jax.cli.options import add_workdir, make_log, read_config, show


def add_arguments(parser):
    add_workdir(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args, config_arguments):
    from emnat_jax.artifacts.journal import exclusive
    from emnat_jax.data.prepare import prepare

    config = read_config(config_arguments, args.workdir)
    with exclusive(args.workdir):
        show(prepare(config, args.workdir, make_log(args.joined)), args.json)
