"""What becomes a model for the page, and what is refused and why."""

import itertools

import pytest
import torch
from test_web_transpile import assert_agree, evaluated

from dpbook_course.web import Library, Unsupported, export
from dpbook_utils.coupling import Additive, Replace, SolverParameter
from dpbook_utils.gradients import PhysicsPath, Truncated
from dpbook_utils.losses import TrajectoryLoss, at_steps, every_step, final_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.noise import GaussianNoise, RandomWalkNoise
from dpbook_utils.objectives import Objective, from_solver
from dpbook_utils.physics.advection import central, semi_lagrangian, upwind
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky
from dpbook_utils.physics.trace import layouts
from dpbook_utils.rollout import Rollout, Sequential, repeat

N, BATCH = 16, 3


def network(**arguments):
    return ConvResNet(1, 1, 1, width=4, num_blocks=1, output_scale=0.5, **arguments)


def state():
    return torch.randn(BATCH, 1, N, generator=torch.Generator().manual_seed(0))


def exported(*step, objective=None, optimizer=None, num_steps=3, weights=every_step, example=None, **rollout):
    ours = objective or Objective(Rollout(Sequential(*step), num_steps, **rollout), TrajectoryLoss(weights))
    optimizer = (optimizer or torch.optim.Adam)(list(ours.parameters()), lr=2e-3)
    return export(ours, optimizer, {"u0": state()} | (example or {}), Library())


def test_the_composition_says_how_the_page_starts():
    made = exported(GaussianNoise(0.1), Replace(network()), gradient=Truncated(2), weights=final_step)
    assert made["start"] == {"m": 3, "policy": "truncated", "truncation": 2, "noise": 0.1, "placement": "final",
                             "lr": 2e-3}
    assert made["shape"] == [1, N] and made["batch"] == BATCH and len(made["operators"]) == 1
    weights = list(network().parameters())
    assert [size for size, _ in made["weights"]] == [w.numel() for w in weights]
    assert made["operators"][0]["trained"] and not made["operators"][0]["solver"]


def test_a_repeated_solver_is_one_program():
    solver = AdvectionDiffusion(N, 1.0, 0.01)
    made = exported(Replace(network()), repeat(solver, 3), example={"diffusivity": torch.full((BATCH,), 0.1)})
    programs = [operator["program"] for operator in made["operators"]]
    assert len(programs) == 4 and programs[1] is programs[2] is programs[3]
    assert [operator["solver"] for operator in made["operators"]] == [False, True, True, True]
    assert made["parameters"] == {"diffusivity": BATCH}


def test_a_page_does_not_depend_on_how_the_example_lies_in_memory():
    solver, viscosity = Burgers(N, 1.0, 0.01, upwind), torch.full((BATCH,), 0.02)
    pages = [exported(solver, Additive(network()), example={"u0": u, "viscosity": viscosity})["operators"]
             for u in layouts(state()).values()]
    assert all(page == pages[0] for page in pages)


SOLVERS = {
    "upwind": (Burgers(N, 1.0, 0.01, upwind), {"viscosity": (BATCH,)}),
    "central, with a force": (Burgers(N, 1.0, 0.01, central), {"viscosity": (BATCH,), "force": (BATCH, 1, N)}),
    "advection": (AdvectionDiffusion(N, 1.0, 0.01, central), {"diffusivity": (BATCH,), "velocity": (BATCH,)}),
    "2D": (AdvectionDiffusion((6, 5), (1.0, 2.0), 0.01, upwind), {"diffusivity": (BATCH,), "velocity": (BATCH, 2)}),
    "a network in the solver": (SolverParameter(Burgers(N, 1.0, 1e-3), network().double(), "local_viscosity"),
                                {"viscosity": (BATCH,)}),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_operators_and_their_vector_jacobian_products(name):
    """In double precision, to a thousand roundings."""
    operator, shapes = SOLVERS[name]
    generator = torch.Generator().manual_seed(1)
    shape = (BATCH, *(operator.state_shape if hasattr(operator, "state_shape") else (1, N)))
    u, g = (torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(2))
    parameters = {name: 0.02 + 0.02 * torch.rand(s, dtype=torch.float64, generator=generator)
                  for name, s in shapes.items()}
    weights = list(operator.parameters())
    ends = list(itertools.accumulate((w.numel() for w in weights), initial=0))
    library = Library()
    made = library.operator(operator, u, parameters, dict(zip(weights, ends)))
    leaf = u.clone().requires_grad_()
    value = operator(leaf, **parameters)
    gradients = torch.autograd.grad(value, [leaf, *weights], g)
    inputs = {"g": g, "u": u, **parameters, "weights": torch.cat([w.detach().flatten() for w in weights] or [u[:0]])}
    outputs = {"value": value.detach(), "gu": gradients[0]}
    if weights:
        outputs["gw"] = torch.cat([x.flatten() for x in gradients[1:]])
    # The names of the places are those of the test's programs: x0, x1, ... and y0, y1, ...
    names = {name: f"x{i}" for i, name in enumerate(inputs)} | {name: f"y{i}" for i, name in enumerate(outputs)}
    sizes = {names[name]: x.numel() for name, x in (inputs | outputs).items()}
    program = made | {"regions": [names.get(region, region) for region in made["regions"]]}
    case = {"program": program, "sizes": sizes, "inputs": [x.flatten().tolist() for x in inputs.values()],
            "outputs": [names[name] for name in outputs]}
    assert_agree(list(outputs.values()), evaluated(library, {"case": case})["case"])


def wrong_optimizer(weights, lr):
    return torch.optim.SGD(weights, lr)


def decaying(weights, lr):
    return torch.optim.Adam(weights, lr, weight_decay=0.1)


HEAT = AdvectionDiffusion(N, 1.0, 0.01)
REFUSED = {
    "fft": (lambda: exported(KuramotoSivashinsky(N, 0.5), Additive(network()),
                             example={"length": torch.full((BATCH,), 22.0)}), "neither real .* matrices"),
    "semi-Lagrangian": (lambda: exported(Burgers(N, 1.0, 0.01, semi_lagrangian), Additive(network()),
                                         example={"viscosity": torch.full((BATCH,), 0.01)}), r"operation aten\."),
    "two networks at once": (lambda: exported(Additive(Ensemble([ConvResNet(2, 1, 1, width=2, seed=s)
                                                                 for s in range(2)])),
                                              example={"u0": torch.randn(2, 1, 6, 6)}), "no ensemble"),
    "gradient policy": (lambda: exported(Additive(network()), gradient=PhysicsPath()), "gradient policy PhysicsPath"),
    "placement": (lambda: exported(Additive(network()), weights=at_steps(1, 3)), "placement .* every_step, final_step"),
    "targets": (lambda: exported(objective=Objective(Rollout(Additive(network()), 1), TrajectoryLoss(every_step),
                                                     from_solver(HEAT))), "(?s)targets .* from_batch, from_input"),
    "record": (lambda: exported(Additive(network()), Additive(network()), record_after=0), "end of the step"),
    "ensemble": (lambda: exported(Additive(Ensemble([network(seed=s) for s in range(3)]))), "no ensemble"),
    "noise": (lambda: exported(RandomWalkNoise(0.1, 1), Additive(network())), "RandomWalkNoise at place 0"),
    "noise in between": (lambda: exported(Additive(network()), GaussianNoise(0.1)), "GaussianNoise at its start"),
    "optimiser": (lambda: exported(Additive(network()), optimizer=wrong_optimizer), "SGD"),
    "weight decay": (lambda: exported(Additive(network()), optimizer=decaying), "weight_decay"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_page_cannot_do_is_refused_and_named(what):
    function, message = REFUSED[what]
    with pytest.raises(Unsupported, match=message):
        function()
