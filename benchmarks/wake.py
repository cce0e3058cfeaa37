"""The wake of a cylinder with a network in the loop: ours beside PhiFlow's own ways.

``python -m benchmarks.wake [--quick] [--write]``
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch
from phi import field
from phi.field import CenteredGrid, StaggeredGrid
from phi.physics import fluid
from phiml import math
from phiml.math import Solve, batch, channel, dual, spatial
from torch import Tensor

from dpbook_utils import settings
from dpbook_utils.coupling import AdditiveRHS
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.networks import PERIODIC, REPLICATE, ConvResNet
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.obstacle import INFLOW, PRESSURE
from dpbook_utils.physics.phiflow import box, from_staggered, precision_and_device, staggered
from dpbook_utils.physics.trace import trace
from dpbook_utils.physics.wake import Wake
from dpbook_utils.rollout import Rollout
from dpbook_utils.training import Gradients

from . import report
from .cases import _assert_close, _highest_memory, _Update, _value_and_gradients
from .measure import environment, interleaved

ROOT = Path(__file__).parents[1]
GRID, DT, BATCH, STEPS, UPDATES = (64, 32), 0.1, 3, 4, 4960  # updates: the budget of the public notebook of this case


class PhiFlowWake(Wake):
    """The same step with PhiFlow's pressure solve: that of ``fluid.make_incompressible``, but for its second mask."""

    def __init__(self, method: str):
        super().__init__(GRID, DT)
        # Direct solves are only checked against the tolerance. CG stops there; float32 does not always reach less.
        direct = Solve(method, 1e-3, 1e-3)
        self._solve = direct if method != "CG" else Solve(method, 1e-4, 1e-4, gradient_solve=Solve(method, 1e-2, 1e-20))

    def project(self, v: Tensor) -> Tensor:
        domain = box(dict(zip("xy", self.length)))
        with precision_and_device(v):
            faces = StaggeredGrid(math.wrap(self.open.to(v), dual(vector="x,y"), spatial("x,y")), INFLOW, bounds=domain)
            cells = CenteredGrid(math.wrap(self.fluid.long(), spatial("x,y")), math.extrapolation.NONE, bounds=domain)
            velocity = staggered(v, domain, INFLOW) * faces.values
            guess = CenteredGrid(math.zeros(batch(velocity) & spatial(velocity)), PRESSURE, bounds=domain)
            pressure = math.solve_linear(fluid.masked_laplace, field.divergence(velocity) * cells,
                                         math.copy_with(self._solve, x0=guess), velocity.boundary, faces, cells)
            gradient = field.spatial_gradient(pressure, velocity.boundary, at="face") * faces
            return from_staggered(velocity.with_values(velocity.values - gradient.values))


class JittedWake(PhiFlowWake):
    """The step above in PhiML's ``jit_compile``."""

    def __init__(self, method: str):
        super().__init__(method)

        def step(v, reynolds, force):
            v, reynolds, force = v.native("b,c,x,y"), reynolds.native("b"), force.native("b,c,x,y")
            return _wrapped(self.project(self.moved(v, reynolds, force)))

        self._step = math.jit_compile(step)

    def step(self, v: Tensor, *, reynolds: Tensor, force: Tensor | None = None) -> Tensor:
        force = torch.zeros_like(v) if force is None else force
        return self._step(_wrapped(v), math.wrap(reynolds, batch("b")), _wrapped(force)).native("b,c,x,y")


def _wrapped(v: Tensor):
    return math.wrap(v, batch("b"), channel("c"), spatial("x,y"))


PHIFLOW = {"PhiFlow, CG": (PhiFlowWake, "CG"), "PhiFlow, direct": (PhiFlowWake, "scipy-direct"),
           "PhiFlow jitted, CG": (JittedWake, "CG"), "PhiFlow jitted, direct": (JittedWake, "scipy-direct")}


def states() -> tuple[Tensor, Tensor, Tensor]:
    """Two states of young wakes, and their Reynolds numbers."""
    v, reynolds = torch.tensor([0.3, -0.3, 0.2]), torch.tensor([100.0, 200.0, 400.0])
    solver = Wake(GRID, DT)
    v = [solver.start(v)]
    with torch.no_grad():
        for _ in range(10):
            v.append(solver(v[-1], reynolds=reynolds))
    return v[5], v[10], reynolds


def solvers(repeats: int) -> list[dict]:
    """One step: ours recorded, and each of PhiFlow's ways.

    Jitted by PhiML, values are right and gradients are not, on all states but the first: their error is a result.
    """
    v, unseen, reynolds = states()
    solver = Wake(GRID, DT)
    steps = {"traced": trace(solver, v, reynolds=reynolds), "eager": solver,
             **{name: kind(method) for name, (kind, method) in PHIFLOW.items()}}
    both = {name: lambda v=v, step=step: _value_and_gradients(lambda v: step(v, reynolds=reynolds), (v,))
            for name, step in steps.items()}
    wrong = {}
    for name, function in both.items():
        for state in (v, unseen):
            (value, gradient), (expected, expected_gradient) = function(state), both["traced"](state)
            _assert_close(name, [expected], [value], 1e-3)
            wrong[name] = float((gradient - expected_gradient).abs().max() / expected_gradient.abs().max())
        if "jitted" not in name:
            _assert_close(name, [expected_gradient], [gradient], 1e-2)
    forward = {name: lambda step=step: _forward(step, v, reynolds) for name, step in steps.items()}
    case = f"Wake, {GRID[0]} x {GRID[1]}, batch {BATCH}"
    return [{"case": case, "what": "forward", "times": interleaved(forward, repeats)},
            {"case": case, "what": "forward and backward", "times": interleaved(both, repeats),
             "gradient_error": wrong}]


def _forward(step: Callable, v: Tensor, reynolds: Tensor) -> Tensor:
    with torch.no_grad():
        return step(v, reynolds=reynolds)


def update(step: Wake, example: Tensor, reynolds: Tensor) -> _Update:
    """One training update of a corrector before the projection."""
    network = ConvResNet(2, 2, 2, width=32, num_blocks=1, kernel_size=5, padding=(REPLICATE, PERIODIC),
                         conditions={"reynolds": (200.0, 100.0)})
    objective = Objective(Rollout(AdditiveRHS(step, network), STEPS), TrajectoryLoss(every_step))
    reference = example.unsqueeze(1).expand(-1, STEPS, -1, -1, -1)
    return _Update(Gradients(objective), {"u0": example, "reference": reference, "reynolds": reynolds})


def updates(repeats: int) -> list[dict]:
    v, _, reynolds = states()
    traced = trace(Wake(GRID, DT), v, reynolds=reynolds, force=torch.zeros_like(v))
    functions = {"traced": update(traced, v, reynolds),
                 **{name: update(kind(method), v, reynolds) for name, (kind, method) in PHIFLOW.items()}}
    losses = {name: float(function()) for name, function in functions.items()}
    for name, loss in losses.items():
        _assert_close(f"loss of {name}", [torch.tensor(losses["traced"])], [torch.tensor(loss)], 1e-3)
    num_weights = sum(w.numel() for w in functions["traced"].weights)
    times = interleaved(functions, repeats)
    minutes = UPDATES * times["traced"]["ms"] / 60e3
    return [{"case": f"Training, wake, {GRID[0]} x {GRID[1]}, batch {BATCH}, {num_weights} weights",
             "what": f"one update, unrolled {STEPS} steps ({UPDATES} updates: {minutes:.1f} minutes)", "times": times}]


def memory() -> dict[str, float]:
    """Peak memory of an update in MB, above that of the set-up, each in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(_peak, (name,)) for name in ("traced", "PhiFlow, CG", "PhiFlow jitted, CG")}


def _peak(name: str) -> float:
    torch.set_num_threads(1)
    v, _, reynolds = states()
    if name == "traced":
        step = trace(Wake(GRID, DT), v, reynolds=reynolds, force=torch.zeros_like(v))
    else:
        kind, method = PHIFLOW[name]
        step = kind(method)
    with precision_and_device(v):  # PhiFlow's backward pass follows its defaults, not the tensors
        function = update(step, v, reynolds)
        before = _highest_memory()
        function()
    return _highest_memory() - before


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wake", description="A wake with a network in the loop.")
    parser.add_argument("--quick", action="store_true", help="one repetition: checks that all compute the same")
    parser.add_argument("--write", action="store_true", help="write results/benchmarks_wake.json")
    options = parser.parse_args(arguments)
    settings.reproducible(0)
    torch.set_num_threads(1)
    with precision_and_device(torch.zeros(1)):
        results = {"environment": environment(), "solvers": solvers(1 if options.quick else 15),
                   "updates": updates(1 if options.quick else 10)}
    if not options.quick:
        results["peak_mb"] = memory()
        print({name: f"{peak:.0f} MB" for name, peak in results["peak_mb"].items()})
    print(report.markdown(results))
    wrong = {name: f"{error:.1e}" for name, error in results["solvers"][1]["gradient_error"].items()}
    print(f"Largest error of the gradient relative to its largest entry, on a state not met before: {wrong}")
    if options.write:
        (ROOT / "results" / "benchmarks_wake.json").write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
