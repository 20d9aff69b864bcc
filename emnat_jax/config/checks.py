"""Checks that several groups of options share. Each raises UserError."""

from emnat_jax.errors import require


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """UserError for a value that is not among the choices."""
    require(value in choices, f"{name}={value!r}: choose one of {', '.join(choices)}.")


def positive(group: str, options: object, *names: str) -> None:
    """UserError for an option that is given and not above 0."""
    for name in names:
        value = getattr(options, name)
        require(value is None or value > 0, f"{group}.{name}={value}: use a positive number.")
