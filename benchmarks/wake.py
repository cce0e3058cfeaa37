"""The wake of a cylinder with a network in the loop: ours beside PhiFlow's own ways.

Semi-Lagrangian advection, as in E09 and in the public notebook of this case. Times are those of the processor, which
other load on the machine disturbs little.

``python -m benchmarks.wake [--quick] [--write]``
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable

import torch
from phi import field
from phi.field import CenteredGrid, StaggeredGrid
from phi.physics import fluid
from phiml import math
from phiml.math import Solve, batch, channel, dual, spatial
from torch import Tensor

from dpbook_course.commands import program
from dpbook_utils import settings
from dpbook_utils.coupling import AdditiveRHS
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.networks import PERIODIC, REPLICATE, ConvResNet
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.navier_stokes import semi_lagrangian
from dpbook_utils.physics.obstacle import INFLOW, PRESSURE
from dpbook_utils.physics.phiflow import box, from_staggered, precision_and_device, staggered
from dpbook_utils.physics.trace import trace
from dpbook_utils.physics.wake import Wake
from dpbook_utils.rollout import Rollout
from dpbook_utils.training import Gradients
from dpbook_utils.update import TracedGradients

from . import report
from .cases import _assert_close, _highest_memory, _Update, _value_and_gradients
from .measure import environment, interleaved

GRID, DT, BATCH, STEPS, UPDATES = (64, 32), 0.1, 3, 4, 4960  # updates: the budget of the public notebook of this case


class PhiFlowWake(Wake):
    """The same step with PhiFlow's pressure solve: that of ``fluid.make_incompressible``, but for its second mask."""

    def __init__(self, method: str):
        super().__init__(GRID, DT, advection=semi_lagrangian)
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
            return _wrapped(self.project(self.moved(v, reynolds=reynolds, force=force)))

        self._jitted = math.jit_compile(step)

    def step(self, v: Tensor, *, reynolds: Tensor, force: Tensor | None = None) -> Tensor:
        force = torch.zeros_like(v) if force is None else force
        return self._jitted(_wrapped(v), math.wrap(reynolds, batch("b")), _wrapped(force)).native("b,c,x,y")


def _wrapped(v: Tensor):
    return math.wrap(v, batch("b"), channel("c"), spatial("x,y"))


PHIFLOW = {"PhiFlow, CG": (PhiFlowWake, "CG"), "PhiFlow, direct": (PhiFlowWake, "scipy-direct"),
           "PhiFlow jitted, CG": (JittedWake, "CG"), "PhiFlow jitted, direct": (JittedWake, "scipy-direct")}


def states() -> tuple[Tensor, Tensor, Tensor]:
    """Two states of young wakes, and their Reynolds numbers."""
    v, reynolds = torch.tensor([0.3, -0.3, 0.2]), torch.tensor([100.0, 200.0, 400.0])
    solver = Wake(GRID, DT, advection=semi_lagrangian)
    v = [solver.start(v)]
    with torch.no_grad():
        for _ in range(10):
            v.append(solver(v[-1], reynolds=reynolds))
    return v[5], v[10], reynolds


def solvers(repeats: int, ways: dict = PHIFLOW) -> list[dict]:
    """One step: ours recorded, and each of PhiFlow's ways."""
    v, unseen, reynolds = states()
    solver = Wake(GRID, DT, advection=semi_lagrangian)
    steps = {"traced": trace(solver, v, reynolds=reynolds), "eager": solver,
             **{name: kind(method) for name, (kind, method) in ways.items()}}
    both = {name: lambda v=v, step=step: _value_and_gradients(lambda v: step(v, reynolds=reynolds), (v,))
            for name, step in steps.items()}
    for name, function in both.items():
        for state in (v, unseen):
            (value, gradient), (expected, expected_gradient) = function(state), both["traced"](state)
            _assert_close(name, [expected], [value], 1e-3)
            _assert_close(name, [expected_gradient], [gradient], 1e-2)
    forward = {name: lambda step=step: _forward(step, v, reynolds) for name, step in steps.items()}
    case = f"Wake, {GRID[0]} x {GRID[1]}, batch {BATCH}"
    return [{"case": case, "what": "forward", "times": interleaved(forward, repeats, time.process_time)},
            {"case": case, "what": "forward and backward", "times": interleaved(both, repeats, time.process_time)}]


def _forward(step: Callable, v: Tensor, reynolds: Tensor) -> Tensor:
    with torch.no_grad():
        return step(v, reynolds=reynolds)


def update(step: Wake, example: Tensor, reynolds: Tensor, gradients: type = Gradients) -> _Update:
    """One training update of a corrector before the projection."""
    network = ConvResNet(2, 2, 2, width=32, num_blocks=1, kernel_size=5, padding=(REPLICATE, PERIODIC),
                         conditions={"reynolds": (200.0, 100.0)})
    objective = Objective(Rollout(AdditiveRHS(step, network), STEPS), TrajectoryLoss(every_step))
    reference = example.unsqueeze(1).expand(-1, STEPS, -1, -1, -1)
    return _Update(gradients(objective), {"u0": example, "reference": reference, "reynolds": reynolds})


def updates(repeats: int, ways: dict = PHIFLOW) -> list[dict]:
    v, _, reynolds = states()
    traced = trace(Wake(GRID, DT, advection=semi_lagrangian), v, reynolds=reynolds, force=torch.zeros_like(v))
    functions = {"recorded": update(traced, v, reynolds, TracedGradients), "traced": update(traced, v, reynolds),
                 **{name: update(kind(method), v, reynolds) for name, (kind, method) in ways.items()}}
    losses = {name: float(function()) for name, function in functions.items()}
    for name, loss in losses.items():
        _assert_close(f"loss of {name}", [torch.tensor(losses["recorded"])], [torch.tensor(loss)], 1e-3)
    num_weights = sum(w.numel() for w in functions["recorded"].weights)
    times = interleaved(functions, repeats, time.process_time)
    minutes = UPDATES * times["recorded"]["ms"] / 60e3
    return [{"case": f"Training, wake, {GRID[0]} x {GRID[1]}, batch {BATCH}, {num_weights} weights",
             "what": f"one update, unrolled {STEPS} steps ({UPDATES} updates recorded: {minutes:.1f} minutes)",
             "times": times}]


def memory() -> dict[str, float]:
    """Peak memory of an update in MB, above that of the set-up, each in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(_peak, (name,)) for name in ("recorded", *PHIFLOW)}


def _peak(name: str) -> float:
    torch.set_num_threads(1)
    v, _, reynolds = states()
    if name == "recorded":
        step = trace(Wake(GRID, DT, advection=semi_lagrangian), v, reynolds=reynolds, force=torch.zeros_like(v))
    else:
        kind, method = PHIFLOW[name]
        step = kind(method)
    with precision_and_device(v):  # PhiFlow's backward pass follows its defaults, not the tensors
        function = update(step, v, reynolds, TracedGradients if name == "recorded" else Gradients)
        before = _highest_memory()
        function()
    return _highest_memory() - before


def markdown(results: dict) -> str:
    table = report.markdown(results).replace("on one thread.", "on one thread; time of the processor.")
    if "peak_mb" in results:
        peaks = ", ".join(f"{name} {peak:.0f} MB" for name, peak in results["peak_mb"].items())
        table += f"\n\nPeak memory of an update above that of the set-up: {peaks}."
    return table


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wake", description="A wake and a network in its loop.")
    parser.add_argument("--quick", action="store_true", help="direct solves, once: checks that all compute the same")
    parser.add_argument("--write", action="store_true", help="write results/benchmarks_wake.json and README.md")
    options = parser.parse_args(arguments)
    if options.write:
        report.prepare("wake")
    settings.reproducible(0)
    torch.set_num_threads(1)
    with precision_and_device(torch.zeros(1)):
        if options.quick:
            direct = {name: way for name, way in PHIFLOW.items() if "direct" in name}
            results = {"solvers": solvers(1, direct), "updates": updates(1, direct)}
        else:
            results = {"solvers": solvers(15), "updates": updates(10), "peak_mb": memory()}
    results = {"environment": environment(), **results}
    table = markdown(results)
    print(table)
    if options.write:
        report.write(results, table, "wake")
    return results


if __name__ == "__main__":
    program(main)
