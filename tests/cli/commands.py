"""Run a command in this process, as typed."""

from emnat_jax.cli.main import main


def run(*arguments, capsys=None):
    code = main([str(a) for a in arguments])
    return code, capsys.readouterr() if capsys else None


def error_of(capsys, *arguments) -> str:
    code, output = run(*arguments, capsys=capsys)
    assert code == 2
    said = [line for line in output.err.strip().splitlines() if not line.startswith("[")]  # log lines
    assert len(said) <= 3 and "Traceback" not in output.err
    return output.err
