"""What is measured. Every group of functions is checked to compute the same before it is timed."""

import multiprocessing
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dpbook_utils.coupling import Additive
from dpbook_utils.data import random_fourier, random_velocity
from dpbook_utils.evaluation import predict
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1
from dpbook_utils.physics.navier_stokes import NavierStokes
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import Gradients, clip_gradients, gradient_norms
from dpbook_utils.update import TracedGradients

from . import handwritten
from .handwritten_navier_stokes import HandwrittenNavierStokes
from .measure import interleaved

try:
    from . import jax_twin
except ImportError:
    jax_twin = None

TOLERANCE = 2e-4  # relative to the largest value, float32: different orders of summation, eight unrolled steps
LENGTH, CLIP, LEARNING_RATE = 50.0, 1.0, 1e-3


def solvers(repeats: int) -> list[dict]:
    """One step of each solver: PhiFlow, its trace, torch by hand, JAX; forward, and forward with the backward pass."""
    records = []
    for name, steps, inputs, jax_step in _solver_cases():
        functions = {way: {key: partial(act, step, inputs) for key, step in steps.items()}
                     for way, act in (("forward", _forward), ("forward and backward", _value_and_gradients))}
        if jax_step is not None:
            functions["forward"]["JAX"], functions["forward and backward"]["JAX"] = _jax_step(jax_step, inputs[0])
        expected = functions["forward and backward"]["traced"]()
        for key, function in functions["forward and backward"].items():
            shown = _resolved if key == "JAX" else list
            _assert_close(f"{name}, {key}", shown(expected), shown(function()))
        for way, group in functions.items():
            records.append({"case": name, "what": way, "times": interleaved(group, repeats)})
    return records


def _solver_cases():
    u, nu = 0.5 * random_fourier(8, 128, modes=10, seed=0), torch.full((8,), 0.01)
    yield from _case("Burgers, 128 points, batch 8", Burgers(128, 1.0, 0.002), handwritten.Burgers(128, 1.0, 0.002), u,
                     jax_twin and jax_twin.burgers(1.0, 128, 0.002, 0.01), viscosity=nu)
    u, length = random_fourier(16, 48, modes=8, seed=0), torch.full((16,), LENGTH)
    yield from _case("Kuramoto-Sivashinsky (ETD1, 2 substeps), 48 points, batch 16",
                     KuramotoSivashinsky(48, 1.0, etd1, 2),
                     handwritten.KuramotoSivashinsky(48, 1.0, 2, length), u,
                     jax_twin and jax_twin.kuramoto_sivashinsky(48, LENGTH, 1.0, 2), length=length)
    v, nu = random_velocity(4, (64, 64), modes=4, seed=0, lengths=(6.28, 6.28)), torch.full((4,), 0.01)
    solver = NavierStokes((64, 64), (6.28, 6.28), 0.02)
    second_order = solver.advection.__name__ == "mac_cormack"
    by_hand = HandwrittenNavierStokes(v, (6.28, 6.28), 0.02, second_order)
    yield from _case("Navier-Stokes, 64 x 64, batch 4", solver, by_hand, v, None, viscosity=nu)


def _case(name, solver, by_hand, u, jax_step, **parameters):
    (key, value), = parameters.items()
    traced = trace(solver, u, **parameters)
    steps = {"traced": lambda u: traced(u, **parameters), "PhiFlow": lambda u: solver(u, **parameters),
             "torch by hand": lambda u: by_hand(u, value)}
    yield name, steps, (u,), jax_step


def _forward(step: Callable, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return [step(*inputs)]


def _value_and_gradients(step: Callable, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    value = step(*leaves)
    return [value.detach(), *torch.autograd.grad(value.square().sum() / 2, leaves)]


def _jax_step(step: Callable, u: Tensor) -> tuple[Callable, Callable]:
    forward, both = jax_twin.step_functions(step)
    array = jax_twin.array(u)
    return lambda: jax_twin.tensors([forward(array)]), lambda: jax_twin.tensors(both(array))


def updates(repeats: int, num_steps: int = 8, num_seeds: int = 6, batch_size: int = 16) -> list[dict]:
    """A whole training update, per seed: forward, backward, clipping, Adam. A network corrects coarse KS."""
    networks = [ConvResNet(1, 1, 1, conditions={"length": (LENGTH, 8.0)}, seed=seed) for seed in range(num_seeds)]
    u0, references = _pairs(batch_size * num_seeds, num_steps)
    length = torch.full((len(u0),), LENGTH)
    solver = trace(KuramotoSivashinsky(48, 1.0, etd1, 2), u0[:batch_size], length=length[:batch_size])

    def batch(seeds: slice) -> dict[str, Tensor]:
        rows = slice(seeds.start * batch_size, seeds.stop * batch_size)
        return {"u0": u0[rows], "reference": references[rows], "length": length[rows]}

    def update(network, gradients: type, seeds: slice) -> Callable:
        objective = Objective(Rollout(Sequential(solver, Additive(network)), num_steps), TrajectoryLoss(every_step))
        return _Update(gradients(objective), batch(seeds))

    one = {"recorded": update(_copy(networks[0]), TracedGradients, slice(0, 1)),
           "eager": update(_copy(networks[0]), Gradients, slice(0, 1)),
           "eager, nn.Conv1d": update(handwritten.CircularConvResNet(networks[0]), Gradients, slice(0, 1))}
    if jax_twin is not None:
        stepper = jax_twin.kuramoto_sivashinsky(48, LENGTH, 1.0, 2)
        first = batch(slice(0, 1))
        inputs = [jax_twin.array(x) for x in (first["u0"], first["reference"], 0 * first["length"])]
        for kind, conv in (("lax", jax_twin.convolution), ("matrix", jax_twin.matrix_convolution)):
            jitted = jax_twin.Update(stepper, conv, jax_twin.weights(networks[0]), num_steps, LEARNING_RATE, CLIP)
            one[f"JAX, {kind} convolution"] = lambda jitted=jitted: jitted(*inputs)
    expected = [float(one["recorded"]()) for _ in range(3)]
    for name, function in one.items():
        if name != "recorded":
            found = [float(function()) for _ in range(3)]
            _assert_close(f"losses of three updates, {name}", [torch.tensor(expected)], [torch.tensor(found)])
    together = update(Ensemble(networks), TracedGradients, slice(0, num_seeds))
    alone = [update(_copy(network), TracedGradients, slice(i, i + 1)) for i, network in enumerate(networks)]
    _assert_close("losses of the ensemble", [torch.cat([step() for step in alone])], [together()])
    what = f"one update, unrolled {num_steps} steps"
    num_weights = sum(w.numel() for w in networks[0].parameters())
    name = f"Training, Kuramoto-Sivashinsky, 48 points, batch {batch_size}, {num_weights} weights"
    both = interleaved({"one after another": lambda: [step() for step in alone], "together": together}, repeats)
    return [{"case": name, "what": what, "times": interleaved(one, repeats)},
            {"case": name, "what": f"{what}, {num_seeds} seeds", "times": both}]


def rollouts(repeats: int, num_steps: int = 200, num_samples: int = 64) -> list[dict]:
    """A long roll-out without a gradient, as it judges a training; recording the step is part of the time."""
    network = ConvResNet(1, 1, 1, conditions={"length": (LENGTH, 8.0)}, seed=0, output_scale=1e-3)
    u0, length = 0.1 * random_fourier(num_samples, 48, modes=8, seed=0), torch.full((num_samples,), LENGTH)
    step = Sequential(KuramotoSivashinsky(48, 1.0, etd1, 2), Additive(network))
    states = u0[:, None].expand(-1, num_steps + 1, -1, -1)

    def rolled(traced: bool) -> Tensor:
        return predict(step, states, trace=traced, length=length)[0]

    # A chaotic flow makes other states of other roundings: the first steps are compared.
    _assert_close("a roll-out", [rolled(True)[:, :8]], [rolled(False)[:, :8]])
    ways = {"traced": partial(rolled, True), "step by step": partial(rolled, False)}
    return [{"case": f"A hybrid of Kuramoto-Sivashinsky, 48 points, batch {num_samples}",
             "what": f"roll-out of {num_steps} steps without a gradient", "times": interleaved(ways, repeats)}]


class _Update:
    """One update with clipping and Adam."""

    def __init__(self, gradients, batch: dict[str, Tensor]):
        self.gradients, self.batch, self.members = gradients, batch, gradients.objective.num_members
        self.weights = list(gradients.objective.parameters())
        self.optimizer = torch.optim.Adam(self.weights, LEARNING_RATE, fused=True)

    def __call__(self) -> Tensor:
        losses = self.gradients(self.batch)
        clip_gradients(self.weights, gradient_norms(self.weights, self.members), CLIP)
        self.optimizer.step()
        return losses


def _copy(network: ConvResNet) -> ConvResNet:
    return Ensemble([network]).member(0)


def _pairs(num_samples: int, num_steps: int) -> tuple[Tensor, Tensor]:
    """Smooth small states, from which the coarse solver does not blow up, and references one could train on."""
    u0 = 0.1 * random_fourier(num_samples, 48, modes=8, seed=0)
    solver = KuramotoSivashinsky(48, 1.0, num_substeps=4)
    with torch.no_grad():
        return u0, Rollout(solver, num_steps)(u0, length=torch.full((num_samples,), LENGTH))


def memory(short: int = 16, long: int = 256) -> dict:
    """Peak memory of forward and backward pass in MB, above that of the set-up, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    peaks = {}
    for num_steps, checkpoint in ((short, False), (short, True), (long, True)):
        with context.Pool(1) as pool:
            peaks[num_steps, checkpoint] = pool.apply(_peak, (num_steps, checkpoint))
    (plain, expected), (_, found) = peaks[short, False], peaks[short, True]
    if not all(torch.equal(e, f) for e, f in zip(expected, found, strict=True)):
        raise AssertionError("gradients with and without checkpointing differ")
    return {"case": "Navier-Stokes, 64 x 64, batch 4, with a network of 8 channels", "steps": [short, long],
            "plain_mb": plain, "checkpointed_mb": [peaks[short, True][0], peaks[long, True][0]],
            "ratio": peaks[long, True][0] / plain,
            "gradients_equal": True}


def _peak(num_steps: int, checkpoint: bool) -> tuple[float, list[Tensor]]:
    torch.set_num_threads(1)
    v = random_velocity(4, (64, 64), modes=4, seed=0, lengths=(6.28, 6.28))
    solver = trace(NavierStokes((64, 64), (6.28, 6.28), 0.02), v, viscosity=0.01)
    network = ConvResNet(2, 2, 2, width=8, output_scale=1e-3)
    step = Sequential(solver, Additive(network))
    objective = Objective(Rollout(step, num_steps, checkpoint=checkpoint), TrajectoryLoss(every_step))
    batch = {"u0": v, "reference": v.unsqueeze(1).expand(-1, num_steps, -1, -1, -1), "viscosity": 0.01}
    one_step = Objective(Rollout(step, 1), TrajectoryLoss(every_step))
    Gradients(one_step)({**batch, "reference": batch["reference"][:, :1]})
    before = _highest_memory()
    Gradients(objective)(batch)
    return _highest_memory() - before, [w.grad for w in network.parameters()]


def _highest_memory() -> float:
    """Of this process so far, in MB. (``ru_maxrss`` would start from that of the process that spawned it.)"""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


def _resolved(values: list[Tensor]) -> list[Tensor]:
    """Without the shortest wave of the grid: exponax leaves it out of the nonlinear term, and so of the gradient."""
    return [torch.fft.irfft(torch.fft.rfft(x)[..., :-1], n=x.shape[-1]) for x in values]


def _assert_close(what: str, expected: list[Tensor], found: list[Tensor], tolerance: float = TOLERANCE) -> None:
    for e, f in zip(expected, found, strict=True):
        difference = float((e - f).abs().max() / e.abs().max())
        if not difference <= tolerance:
            raise AssertionError(f"{what}: differs by {difference:.1e} of the largest value; "
                                 "these are not the same computation")
