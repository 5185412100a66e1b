"""Rate limits of the API. Generous: a program that behaves never meets them."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Self

from chat_api.http.problems import RateLimited
from shared.http.rate_limit import RateLimit


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one API process.

    Attributes:
        failed_logins: by username and customer's address, 10 a minute.
        failed_logins_anywhere: by username, 100 a minute, for those who guess from many addresses.
        registrations: by customer's address, 300 a minute.
        posts: of messages, by user id, 200 a second, 1000 at once.
    """

    failed_logins: RateLimit
    failed_logins_anywhere: RateLimit
    registrations: RateLimit
    posts: RateLimit

    @classmethod
    def of(cls, *, on: bool) -> Self:
        """Makes the limits, which limit nothing with `RATE_LIMITS=off`."""
        return cls(
            failed_logins=RateLimit(rate=10 / 60, burst=10, on=on),
            failed_logins_anywhere=RateLimit(rate=100 / 60, burst=100, on=on),
            registrations=RateLimit(rate=300 / 60, burst=300, on=on),
            posts=RateLimit(rate=200, burst=1000, on=on),
        )


def enforce(limit: RateLimit, key: Hashable) -> None:
    """Counts one call for `key`.

    Raises:
        RateLimited: it is beyond the limit; then it does not count.
    """
    _refuse_for(limit.take(key))


def _refuse_for(seconds: float) -> None:
    """Refuses a call that has to wait.

    Raises:
        RateLimited: `seconds` is more than none.
    """
    if seconds > 0:
        raise RateLimited(retry_after=math.ceil(seconds))


class FailedLogins:
    """The failures to log in with `name` from `address`, and from anywhere."""

    def __init__(self, limits: Limits, name: str, address: str) -> None:
        self._counted: tuple[tuple[RateLimit, Hashable], ...] = (
            (limits.failed_logins, (name, address)),
            (limits.failed_logins_anywhere, name),
        )

    def check(self) -> None:
        """Refuses one more try where there were too many failures.

        Raises:
            RateLimited: there were.
        """
        _refuse_for(max(limit.wait(key) for limit, key in self._counted))

    def count(self) -> None:
        """Counts one more failure.

        Raises:
            RateLimited: there were too many meanwhile.
        """
        for limit, key in self._counted:
            enforce(limit, key)
