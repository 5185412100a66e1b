"""A gateway, and an API that answers when it is told to."""

from collections.abc import AsyncIterator

import fakeredis
import pytest
from support.gateways import RunningGateway, running_gateway


@pytest.fixture(scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as running:
        yield running


@pytest.fixture(autouse=True)
def obedient_api(gateway: RunningGateway) -> None:
    gateway.api.status, gateway.api.times = 200, None
    gateway.api.last_seq = 0
    gateway.api.problem = {}
    gateway.api.gate.set()
