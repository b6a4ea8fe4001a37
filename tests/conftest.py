"""Settings of the test run: the tests import ``support``; every test starts from seed 0 and leaves the engine as it was."""

from __future__ import annotations

import pytest

import lamina
from lamina import engine as engines
from lamina.engine.onednn import loader


@pytest.fixture(autouse=True)
def _clean_state():
    before = engines.get_engine()
    lamina.manual_seed(0)
    yield
    engines.set_engine(before)
    assert lamina.is_grad_enabled(), "a test left gradients off"


@pytest.fixture(params=["reference", "onednn"])
def each_engine(request):
    """Run the test once per engine (a forced ``LAMINA_ENGINE=reference`` run has one engine only)."""
    if engines.get_engine() == "reference" and request.param != "reference":
        pytest.skip("the run is forced to the reference engine")
    if request.param == "onednn" and loader.load() is None:
        pytest.skip("oneDNN is not installed here")
    with engines.engine(request.param):
        yield request.param
