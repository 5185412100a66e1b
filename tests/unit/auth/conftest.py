"""A verifier, its keys and its clock."""

import pytest
from unit.auth.signed import Clock, OneKey

from shared.auth.tokens import Verifier


@pytest.fixture
def keys() -> OneKey:
    return OneKey()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(keys: OneKey, clock: Clock) -> Verifier:
    return Verifier(keys, issuer="roomcast", audience="roomcast", clock=clock)
