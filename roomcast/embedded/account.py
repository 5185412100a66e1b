"""Picks the account that the embedded PostgreSQL runs as: it refuses to run with root's rights."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import structlog

log = structlog.get_logger()

_UNPRIVILEGED: Final = "nobody"
_SEARCH: Final = stat.S_IXOTH
_READ: Final = stat.S_IROTH


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a program runs as; None for this process's own."""

    user: int | None = None
    group: int | None = None

    @classmethod
    def for_folder(cls, folder: Path) -> Self:
        """Returns this process's account; for root, `folder`'s owner, or one without rights."""
        if os.geteuid() != 0:
            return cls()
        if folder.exists() and folder.stat().st_uid != 0:
            return cls(folder.stat().st_uid, folder.stat().st_gid)
        entry = pwd.getpwnam(_UNPRIVILEGED)
        return cls(entry.pw_uid, entry.pw_gid)

    @property
    def process_options(self) -> dict[str, Any]:
        """Returns the options of `subprocess.run` that start a program as this account."""
        return {} if self.user is None else {"user": self.user, "group": self.group, "extra_groups": []}

    def take_ownership(self, path: Path) -> None:
        """Makes the account the owner of `path`."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group)

    def allow_passing(self, folder: Path) -> None:
        """Lets the account pass through `folder` and those above it; it gets to list none of them."""
        if self.user is None:
            return
        for each in (folder, *folder.parents):
            mode = each.stat().st_mode
            if not mode & _SEARCH:
                log.warning("account.folder_opened", folder=str(each), to="pass through")
                each.chmod(mode | _SEARCH)

    def allow_reading(self, folder: Path) -> None:
        """Lets the account read and run what is in `folder`, as after an installation with a strict umask."""
        if self.user is None or folder.stat().st_mode & (_READ | _SEARCH) == _READ | _SEARCH:
            return
        for each in (folder, *folder.rglob("*")):
            if not each.is_symlink():
                mode = each.stat().st_mode
                each.chmod(mode | _READ | (_SEARCH if mode & stat.S_IXUSR else 0))
