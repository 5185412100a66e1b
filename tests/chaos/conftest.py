"""The cluster that all of this folder's tests do harm to."""

from collections.abc import AsyncIterator

import pytest
from support.rest import Api

from chaos.cluster import Cluster, ground
from chaos.run import People


@pytest.fixture(scope="package")
async def cluster() -> AsyncIterator[Cluster]:
    """Two of each service on servers of their own, everything linked through proxies."""
    async with ground() as servers, Cluster(servers) as running:
        yield running


@pytest.fixture(scope="package")
async def people(cluster: Cluster) -> People:
    """Registered users."""
    async with Api(cluster.those("api")[0].service.url) as api:
        return await People.registered(api)
