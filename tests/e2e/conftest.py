"""Clusters of processes behind a real Envoy."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from chaos.cluster.cluster import Cluster, ClusterSpec, cluster
from chaos.cluster.ports import free_block

PORTS_PER_WORKER = 1000
PORTS_PER_CLUSTER = 50

Build = Callable[..., AbstractAsyncContextManager[Cluster]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Return a builder of clusters whose ports no other test worker uses."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    first = 20_000 + PORTS_PER_WORKER * int(worker)

    @asynccontextmanager
    async def build_cluster(**spec: object) -> AsyncIterator[Cluster]:
        base = free_block("127.0.0.1", PORTS_PER_CLUSTER, first=first)
        async with cluster(ClusterSpec(folder=tmp_path, base_port=base, **spec)) as system:  # type: ignore[arg-type]
            yield system

    return build_cluster
