"""Versions of the schema that databases may have run."""

from hashlib import sha256
from pathlib import Path

from chat_api import migrations

FROZEN = {
    "0005": "4ccc537aab2f97da9276a133155640c45e234adb83cdc7407b0028e138a96be0",
}


def test_the_sql_of_a_version_stays_as_it_was() -> None:
    """A database that has run it does not run it again: a change is a new version, with a line of its own."""
    versions = Path(migrations.__file__).parent / "versions"
    assert {path.name: checksum(path) for path in versions.iterdir() if [*path.glob("*.sql")]} == FROZEN


def checksum(folder: Path) -> str:
    digest = sha256()
    for path in sorted(folder.glob("*.sql")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
