"""Where the contract runs: on the GPU when there is one, otherwise on the CPU."""

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--device", choices=("cpu", "cuda"), help="default: cuda when there is one")


@pytest.fixture(scope="session")
def device(request):
    """The device under test; one thread, since the tests themselves run in parallel."""
    torch.set_num_threads(1)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    return request.config.getoption("--device") or default
