"""
The grid: every operation under every fault, at every point.

By default the four operations that carry most, each at one point; all of it in the full
tier.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.faults.grid import Run
from tests.faults.injections import (
    CLUSTER_INJECTIONS,
    INJECTIONS,
    ClusterInjection,
    Injection,
)
from tests.faults.operations import OPERATIONS
from tests.faults.tiers import FULL, by_tier
from tests.node import Node

__all__: list[str] = []

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: An operation has at most so many points.
POINTS = max(len(operation.points) for operation in OPERATIONS)

#: So many operations, and so many points of each.
WIDTH = by_tier(4, len(OPERATIONS))
ROUNDS = by_tier(range(1), range(POINTS))


@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("injection", INJECTIONS, ids=lambda kind: kind.key)
def test_one_server(injection: type[Injection], number: int, tmp_path: Path) -> None:
    with Node(tmp_path / "server", injection.config) as node:
        run = Run([node], injection, OPERATIONS[:WIDTH], number, tmp_path)
        problems = run.judge()
    assert not problems, "\n".join(problems)
    assert run.struck_cells


if FULL:

    @pytest.fixture(scope="module")
    def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
        with Cluster(tmp_path_factory.mktemp("cluster"), advertise=False) as cluster:
            yield cluster

    @pytest.mark.parametrize("number", range(3))
    @pytest.mark.parametrize("injection", CLUSTER_INJECTIONS, ids=lambda kind: kind.key)
    def test_three_servers(
        injection: type[ClusterInjection], number: int, cluster: Cluster, tmp_path: Path
    ) -> None:
        run = Run(
            cluster.nodes, lambda seed: injection(seed, cluster), OPERATIONS, number, tmp_path
        )
        problems = run.judge()
        cluster.heal()
        assert not problems, "\n".join(problems)
        assert run.struck_cells
