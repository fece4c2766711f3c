"""The process that draws answers leaves a core to the gateway and the clients."""

import pytest

from luthier.cli.sampler import threads_beside


@pytest.mark.parametrize("cores, threads", [(0.5, 1), (1, 1), (2, 1), (3.5, 2), (16, 15)])
def test_one_core_is_left_where_there_are_several(cores: float, threads: int):
    assert threads_beside(cores) == threads
