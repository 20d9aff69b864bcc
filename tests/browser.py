"""A page as a browser without a window shows it."""

import shutil
import subprocess
from pathlib import Path

import pytest

NEEDS_BROWSER = pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser")


def shown(path: Path, width: int) -> tuple[str, str]:
    """(document after loading, what the browser logged) of a local page, `width` pixels wide."""
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={path.parent / 'profile'}",
        f"--window-size={width},900",
        "--enable-logging=stderr",
        "--v=0",
        "--dump-dom",
        f"file://{path}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr
