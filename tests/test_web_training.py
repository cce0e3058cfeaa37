"""What a page trains, from the very text that it loads, against the course's own objectives in torch."""

import functools
import itertools
import os
import re
import subprocess
import sys

import javascript
import pytest
import torch

from dpbook_course.web import systems as offered
from dpbook_course.web import worker_source
from dpbook_course.web.systems import PAGES, burgers_chains, flow_chains, inverse_objectives, ks_chains
from dpbook_utils.data import random_fourier, random_velocity
from dpbook_utils.gradients import FullGradient, NoSolverGradient, Pushforward, Truncated
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.objectives import Objective, parameters_of
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import Gradients, fit

POLICIES = {"full": FullGradient(), "cut": NoSolverGradient(), "truncated": Truncated(2), "pushforward": Pushforward()}
PLACEMENTS = {"every": every_step, "final": final_step}
LENGTHS, LONGEST, UPDATES, RATE = (1, 3, 8), 8, 100, 2e-3
SYSTEMS = offered()
# Batch, points, waves.
SIZES = {"burgers": (8, 32, 3), "ks": (8, 48, 4), "inverse": (16, 32, 3), "flow": (4, (32, 32), 3)}

TRAIN = """
function trained({system, coupling, settings, weights, batches}) {
  const model = SYSTEMS[system].models[coupling];
  const training = new Training(model, {noise: 0, lr: 0.003, truncation: 2, ...settings}, KERNELS, CONSTANTS, NOISE);
  training.view("weights").set(weights);
  return {training, batches: batches.map(b => BATCHES[b])};
}
function gradient(one) {
  const {training, batches: [batch]} = trained(one);
  training.load(batch);
  training.forward();
  return {loss: training.backward(), gradient: [...training.view("gradient")], norms: [...training.norms]};
}
function losses(one) {
  const {training, batches} = trained(one);
  return batches.map(batch => training.update(batch));
}
function continued(one) {
  const {training, batches} = trained(one), {settings, model} = training;
  const losses = batches.slice(0, 3).map(batch => training.update(batch));
  const next = new Training(model, settings, KERNELS, CONSTANTS, NOISE);
  next.resume(training.everything(), training.count);
  return [...losses, ...batches.slice(3).map(batch => next.update(batch))];
}
const NOISE = {at: 0, normal() { return DRAWN[this.at++]; }};
"""


@functools.cache
def chains(system):
    return {"burgers": burgers_chains, "ks": ks_chains, "flow": flow_chains}[system]()


def objective(system, coupling, m=1, policy="full", placement="every", noise=0.0):
    """The composition in torch."""
    if system == "inverse":
        return inverse_objectives()[coupling]
    step = Sequential(GaussianNoise(noise), chains(system)[coupling])
    return Objective(Rollout(step, m, gradient=POLICIES[policy]), TrajectoryLoss(PLACEMENTS[placement]))


def drawn_weights(parameters, size=0.7, seed=0):
    """Weights of a size that makes gradients of a size: a last layer near zero would leave nothing to compare."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for w in parameters:
            w.copy_(size * torch.randn(w.shape, generator=generator) / max(w[0].numel() / w.shape[-1], 1) ** 0.5)


def scale(system, coupling):
    """Eight steps must stay finite."""
    return 0.1 if system == "flow" else 0.3 if system == "ks" or coupling == "multiplicative" else 0.7


def flat(tensors):
    return torch.cat([x.detach().flatten() for x in tensors])


def batch(system, seed, scale=1.0):
    number, points, modes = SIZES[system]
    if system == "flow":
        u = random_velocity(number * (LONGEST + 1), points, modes=modes, seed=seed).view(number, -1, 2, *points)
    else:
        u = scale * random_fourier(number * (LONGEST + 1), points, modes=modes, seed=seed).view(number, -1, 1, points)
    found = {"u0": u[:, 0], "reference": u[:, 1:]}
    parameters = {"burgers": {"viscosity": torch.linspace(0.1, 0.4, number)},
                  "flow": {"viscosity": torch.linspace(1e-4, 1e-3, number)}}
    return found | parameters.get(system, {})


def parameters(system, coupling):
    return {"diffusivity": torch.full((16,), 0.009)} if (system, coupling) == ("inverse", "physics") else {}


def for_page(batch):
    """A batch as ``Training.load`` takes it."""
    others = {name: x.tolist() for name, x in parameters_of(batch).items()}
    return {"u0": batch["u0"].flatten().tolist(), "parameters": others,
            "reference": [batch["reference"][:, k].flatten().tolist() for k in range(batch["reference"].shape[1])]}


def combinations():
    for system, about in SYSTEMS.items():
        lengths = [m for m in LENGTHS if m <= about["m"][1]]
        for coupling, m in itertools.product(about["couplings"], lengths):
            for policy, placement in itertools.product(about["policies"][coupling], PLACEMENTS):
                if not (policy == "pushforward" and placement == "every" and m > 1):
                    yield system, coupling, m, policy, placement


def run(result, cases, batches, drawn=(), compiled=True):
    return javascript.run(javascript.WORKER, worker_source(compiled), TRAIN, result=f"CASES.map({result})", CASES=cases,
                          BATCHES=batches, DRAWN=list(drawn))


def test_gradients_of_every_combination():
    """To 1e-5 of the largest entry, from weights far from zero; the loss to 1e-5, too. Compiled and in JavaScript."""
    cases, expected, batches = [], [], []
    for system, coupling, m, policy, placement in combinations():
        ours = objective(system, coupling, m, policy, placement)
        drawn_weights(ours.parameters(), scale(system, coupling))
        data = batch(system, seed=m, scale=0.1 if system == "ks" else 1.0) | parameters(system, coupling)
        loss = Gradients(ours)(data)
        cases.append({"system": system, "coupling": coupling, "weights": flat(ours.parameters()).tolist(),
                      "settings": {"m": m, "policy": policy, "placement": placement}, "batches": [len(batches)]})
        batches.append(for_page(data))
        expected.append((float(loss), flat(w.grad for w in ours.parameters())))
    assert len(cases) > 130
    assert min(float(gradient.abs().max()) for _, gradient in expected) > 1e-4  # none of them is tiny
    for compiled in (True, False):
        errors = []
        for case, (loss, gradient), found in zip(cases, expected, run("gradient", cases, batches, compiled=compiled)):
            difference = float((torch.tensor(found["gradient"]) - gradient).abs().max() / gradient.abs().max())
            errors.append((max(difference, abs(found["loss"] / loss - 1)), compiled, case["system"],
                           case["coupling"], case["settings"]))
        worst = max(errors, key=lambda e: e[0])
        assert worst[0] < 1e-5, worst


@pytest.mark.parametrize("system, coupling", [(s, c) for s, about in SYSTEMS.items() for c in about["couplings"]])
def test_losses_of_a_hundred_updates(system, coupling):
    """With clipping and Adam, on batches that differ: to 1e-3 of each loss."""
    m = min(3, SYSTEMS[system]["m"][1])
    ours = objective(system, coupling, m)
    drawn_weights(ours.parameters(), scale(system, coupling))
    data = [batch(system, seed, 0.1 if system == "ks" else 1.0) | parameters(system, coupling) for seed in range(5)]
    case = {"system": system, "coupling": coupling, "weights": flat(ours.parameters()).tolist(),
            "settings": {"m": m, "policy": "full", "placement": "every", "lr": RATE},
            "batches": [k % len(data) for k in range(UPDATES)]}
    found, = run("losses", [case], [for_page(one) for one in data])
    optimizer = torch.optim.Adam(ours.parameters(), lr=RATE)
    losses = fit(ours, data, optimizer, num_updates=UPDATES, clip_norm=1.0, trace=True, progress=False).losses
    expected = torch.as_tensor(losses).double().flatten()
    assert ((torch.tensor(found).double() / expected - 1).abs() < 1e-3).all()
    assert expected[-5:].mean() < 0.97 * expected[:5].mean()  # something was learned


def test_a_training_that_is_taken_over_goes_on_as_it_would_have():
    """Weights, moments and their count: what a change of settings on the page keeps."""
    ours = objective("burgers", "additive", 3)
    drawn_weights(ours.parameters())
    case = {"system": "burgers", "coupling": "additive", "weights": flat(ours.parameters()).tolist(),
            "settings": {"m": 3, "policy": "full", "placement": "every"}, "batches": [0, 1, 0, 1, 0, 1]}
    batches = [for_page(batch("burgers", seed)) for seed in range(2)]
    assert run("continued", [case], batches) == run("losses", [case], batches)


def test_noise_enters_before_every_step(monkeypatch):
    ours = objective("burgers", "additive", m=3, noise=0.2).train()
    drawn_weights(ours.parameters())
    data, drawn = batch("burgers", 0), []

    def draw(self, u):
        drawn.append(torch.randn(u.shape, generator=torch.Generator().manual_seed(len(drawn))))
        return drawn[-1]

    monkeypatch.setattr(GaussianNoise, "draw", draw)
    loss = Gradients(ours)(data)
    settings = {"m": 3, "policy": "full", "placement": "every", "noise": 0.2}
    case = {"system": "burgers", "coupling": "additive", "weights": flat(ours.parameters()).tolist(), "batches": [0],
            "settings": settings}
    found, = run("gradient", [case], [for_page(data)], flat(drawn).tolist())
    gradient = flat(w.grad for w in ours.parameters())
    assert len(drawn) == 3 and abs(found["loss"] / float(loss) - 1) < 1e-5
    assert (torch.tensor(found["gradient"]) - gradient).abs().max() < 1e-5 * gradient.abs().max()


def test_norms_along_the_chain():
    """|dL/du_k| of the loss at the end only, against torch's gradient with respect to the states."""
    ours = objective("burgers", "additive", m=3, placement="final")
    drawn_weights(ours.parameters())
    data, states = batch("burgers", 0), []
    step = ours.rollout.step[1]
    u = data["u0"]
    for _ in range(3):
        u = step(u, viscosity=data["viscosity"])
        u.retain_grad()
        states.append(u)
    ours.loss(u.unsqueeze(1), data["reference"][:, 2:3]).mean().backward()
    case = {"system": "burgers", "coupling": "additive", "weights": flat(ours.parameters()).tolist(), "batches": [0],
            "settings": {"m": 3, "policy": "full", "placement": "final"}}
    found, = run("gradient", [case], [for_page(data)])
    assert found["norms"] == pytest.approx([float(u.grad.norm()) for u in states], rel=1e-5)


@pytest.mark.parametrize("names", PAGES, ids="-".join)
def test_the_committed_binary_is_that_of_the_kernels(names):
    assert 'compiled("AGFzb' in worker_source(names=names), "the kernels have changed: python -m pip install " \
        "ziglang==0.17.1, then python -m dpbook_course.web"


def test_kernels_do_not_depend_on_the_process():
    """PhiFlow takes axes in the order of sets of names, which differs from process to process."""
    script = "from dpbook_course.web.systems import exported; from dpbook_course.web.compiled import source; " \
        "print(source(exported(('flow',))[0]))"
    texts = {subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed}, check=True,
                            capture_output=True).stdout for seed in "12"}
    assert len(texts) == 1


def test_a_page_of_one_system_is_light():
    assert len(worker_source(names=["flow"]).encode()) < 280_000


def test_the_compiled_tanh_is_accurate():
    """Single precision from 1e-9 to 20, and NaN stays NaN."""
    found = javascript.run(javascript.WORKER, worker_source(), result="""(() => {
      const n = KERNELS.findIndex(k => k.toString().includes("=tanh(M[b+i])")), memory = new Memory(KERNELS, []);
      const size = +KERNELS[n].toString().match(/<(\\d+)/)[1], to = memory.place(size), at = memory.place(size);
      memory.create();
      const x = memory.view(at, size);
      x.forEach((_, i) => { x[i] = (i % 2 ? 1 : -1) * 20 * (i / size) ** 4; });
      x[0] = NaN;
      memory.fast["k" + n](4 * to, 4 * at);
      return [[...x], [...memory.view(to, size)]];
    })()""")
    (nan, *x), (nan_of_nan, *y) = found
    assert nan is None and nan_of_nan is None
    expected = torch.tensor(x, dtype=torch.float64).tanh()
    assert (torch.tensor(y, dtype=torch.float64) / expected - 1).abs().max() < 5e-7


def test_the_page_is_small_and_needs_no_permission():
    text = worker_source()
    assert len(text.encode()) < 500_000
    code = re.sub(r'"[^"\n]*"', '""', text)
    assert not re.search(r"\beval\b|new Function|\bimport\b|\bfetch\b|XMLHttpRequest|https?:", code)
