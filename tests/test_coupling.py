"""Each coupling against its formula."""

import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive, AdditiveRHS, Multiplicative, Replace, SolverParameter
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.burgers import Burgers

SOLVER = Burgers(16, 1.0, 0.004)
NETWORK = nn.Conv1d(1, 1, 3, padding=1)
U = torch.randn(3, 1, 16, generator=torch.Generator().manual_seed(0))
OUT = NETWORK(U)


class MeanSquare(nn.Module):
    """One number per sample."""

    def forward(self, u):
        return u.square().mean((1, 2))


@pytest.mark.parametrize("coupling, expected", [
    (Replace(NETWORK), OUT), (Additive(NETWORK), U + OUT), (Multiplicative(NETWORK), U * (1 + OUT))])
def test_formula(coupling, expected):
    assert torch.equal(coupling(U), expected)


def test_additive_rhs_adds_to_a_given_force():
    force = torch.ones(3, 1, 16)
    step = AdditiveRHS(SOLVER, NETWORK)
    assert torch.equal(step(U, viscosity=0.01), SOLVER(U, viscosity=0.01, force=OUT))
    assert torch.equal(step(U, viscosity=0.01, force=force), SOLVER(U, viscosity=0.01, force=force + OUT))
    assert set(step.parameter_names) == {"viscosity", "force", "local_viscosity"}


def test_solver_parameter_is_set_by_the_network_and_its_gradient_flows():
    scale = nn.Parameter(torch.tensor(0.01))
    network = MeanSquare()
    step = SolverParameter(SOLVER, network, "viscosity", transform=lambda output: scale * output)
    expected = SOLVER(U, viscosity=0.01 * U.square().mean((1, 2)))
    u_next = step(U)
    assert torch.allclose(u_next, expected)
    assert torch.autograd.grad(u_next.sum() + u_next.square().sum(), scale)[0] != 0
    assert step.parameter_names == ("force", "local_viscosity")


def test_softplus_keeps_a_viscosity_positive():
    seen = []
    solver = Burgers(16, 1.0, 1e-5)
    solver.check_parameters = lambda **parameters: seen.append(parameters["viscosity"])
    SolverParameter(solver, MeanSquare(), "viscosity")(-U)
    assert (seen[0] > 0).all()


@pytest.mark.parametrize("coupling", [Additive, Multiplicative])
def test_an_output_that_would_broadcast_is_refused(coupling):
    with pytest.raises(ValueError, match=r"\(3, 1, 16\) into \(3, 2, 16\)"):
        coupling(nn.Conv1d(1, 2, 3, padding=1))(U)


def test_a_parameter_that_the_solver_does_not_take_is_refused():
    with pytest.raises(ValueError, match="SolverParameter: Burgers takes no parameter 'reynolds'"):
        SolverParameter(SOLVER, NETWORK, "reynolds")


def test_a_coupling_takes_the_parameters_that_its_network_is_conditioned_on():
    network = ConvResNet(1, 1, 1, width=2, num_blocks=1, conditions={"length": (1.0, 2.0)})
    assert Additive(network).parameter_names == Additive(network).network_parameters == ("length",)
    assert AdditiveRHS(SOLVER, network).parameter_names == (*SOLVER.parameter_names, "length")


def test_the_parameters_of_a_solver_are_named_where_another_one_is_asked_for():
    with pytest.raises(ValueError, match="it takes viscosity"):
        SolverParameter(SOLVER, MeanSquare(), "speed")
