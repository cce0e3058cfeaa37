"""The wake's benchmark runs, and what it compares computes the same. No test looks at a time."""

import warnings

import pytest
import torch

from benchmarks import report, wake
from dpbook_utils.physics.navier_stokes import semi_lagrangian
from dpbook_utils.physics.phiflow import precision_and_device


@pytest.fixture(scope="module")
def results():
    threads = torch.get_num_threads()
    with warnings.catch_warnings(action="ignore"):  # of what PhiML calls in torch: its jit, sparse tensors
        yield wake.main(["--quick"])
    torch.set_num_threads(threads)


def test_all_ways_are_measured(results):
    names = {"PhiFlow, direct", "PhiFlow jitted, direct"}
    assert [record["what"] for record in results["solvers"]] == ["forward", "forward and backward"]
    assert all(set(record["times"]) == names | {"traced", "eager"} for record in results["solvers"])
    assert set(results["updates"][0]["times"]) == names | {"traced", "recorded"}
    assert "PhiFlow, direct" in report.markdown(results)


def test_its_phiflow_step_is_ours():
    v, _, reynolds = wake.states()
    with precision_and_device(v.double()):
        expected = wake.Wake(wake.GRID, wake.DT, advection=semi_lagrangian)(v.double(), reynolds=reynolds.double())
        found = wake.PhiFlowWake("scipy-direct")(v.double(), reynolds=reynolds.double())
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)
