"""The parser of a command's options: a mistake is one line that says what is meant or where to look."""

import argparse
import difflib
import os
import re
from typing import Any, NoReturn

from emnat_jax.artifacts.atomic import require_store
from emnat_jax.errors import UserError


class Parser(argparse.ArgumentParser):
    """Without the usage of every option before each complaint; names the option nearest to an unknown one."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unknown argument {unknown[0]}{self._nearest(unknown[0])}")
        for name, value in vars(found).items():
            if isinstance(value, str | int):
                setattr(found, name, self._usable(f"--{name.replace('_', '-')}", value))
        return found

    def _usable(self, option: str, value: str | int) -> str | int:
        """The value, with the home folder for a ~, as few shells put it after a =; an error for none."""
        if value == "":
            # Most often a variable of a script that is not set: nothing else may take its place.
            self.error(f"argument {option}: no value; give one, or leave it out")
        if isinstance(value, int):
            if abs(value) >= 1 << 31:  # devices count in 32 bits
                self.error(f"argument {option}: the number is too large; use one below 2^31")
            return value
        try:
            require_store(value)
        except UserError as error:
            self.error(f"argument {option}: {str(error).removesuffix('.')}")
        return os.path.expanduser(value) if value.startswith("~") else value

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` lists the options.\n")

    def _nearest(self, argument: str) -> str:
        known = re.findall(r"--[a-z][a-z-]*", self.format_usage())
        near = difflib.get_close_matches(argument.partition("=")[0], known, n=1)
        return f", did you mean {near[0]}" if near else ""
