"""The tests' own guard: nothing in a test can reach another machine."""

import os
import socket

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.org", 443)])
def test_another_machine_cannot_be_reached(address: tuple[str, int]):
    with pytest.raises(Exception, match="is another machine"):
        socket.create_connection(address, timeout=1)
    with socket.socket() as client, pytest.raises(Exception, match="is another machine"):
        client.connect_ex(address)


def test_this_machine_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5) as client:
        assert client.getpeername() == server.getsockname()


def test_libraries_and_subprocesses_are_told():
    assert (os.environ["HF_HUB_OFFLINE"], os.environ["OMP_NUM_THREADS"]) == ("1", "1")
    import torch

    assert torch.get_num_threads() == 1
