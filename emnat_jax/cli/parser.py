"""The parser of a command's options: a mistake is one line that says what is meant or where to look."""

import argparse
import difflib
import re
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Without the usage of every option before each complaint; names the option nearest to an unknown one."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unknown argument {unknown[0]}{self._nearest(unknown[0])}")
        return found

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` lists the options.\n")

    def _nearest(self, argument: str) -> str:
        known = re.findall(r"--[a-z][a-z-]*", self.format_usage())
        near = difflib.get_close_matches(argument.partition("=")[0], known, n=1)
        return f", did you mean {near[0]}" if near else ""
