"""What the page and its worker say to each other, and the data that the worker makes."""

import javascript
import pytest
import torch
from torch import nn

from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.problems import rod
from dpbook_course.web import systems, worker_source
from dpbook_course.web.matrices import KuramotoSivashinskyMatrices, NavierStokesMatrices
from dpbook_course.web.stories import STORIES
from dpbook_course.web.systems import burgers_solvers, ks_solvers
from dpbook_utils.data import cell_averages, random_velocity
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.navier_stokes import NavierStokes, mac_cormack, semi_lagrangian
from dpbook_utils.physics.projection import Divergence

SETTINGS = {"system": "ks", "coupling": "additive", "m": 2, "policy": "full", "truncation": 2, "placement": "every",
            "noise": 0, "lr": 0.003, "seed": 0}

# ``talk`` sends messages, waits for ms where there is a number, and gives what came back, arrays as lists.
TALK = """
const listed = x => ArrayBuffer.isView(x) ? [...x] : x && typeof x === "object" && !Array.isArray(x)
  ? Object.fromEntries(Object.entries(x).map(([k, v]) => [k, listed(v)])) : x;
async function talk(messages) {
  for (const message of messages) {
    if (typeof message === "number") await new Promise(done => setTimeout(done, message));
    else onmessage({data: message});
  }
  return SENT.map(listed);
}
for (const system of Object.values(SYSTEMS)) Object.assign(system.data, {lots: 1, testSteps: 6}); // enough for a test
"""

# The update at which each training is lost, on the data that a page has.
UNTIL_LOST = """
const ends = all => all.map(settings => {
  onmessage({data: {type: "configure", settings, run: 1, reset: true}});
  for (let update = 1; update < 100; update++) {
    onmessage({data: {type: "step"}});
    if (SENT.splice(0).some(m => m.type === "diverged")) return update;
  }
});
"""


def talk(*messages):
    return javascript.run(javascript.WORKER, worker_source(), TALK, result="talk(MESSAGES)", MESSAGES=list(messages))


def configured(run=1, reset=False, **changes):
    return {"type": "configure", "settings": SETTINGS | changes, "run": run, "reset": reset}


def of_type(messages, kind):
    return [message for message in messages if message["type"] == kind]


def test_a_conversation():
    said = talk(configured(), {"type": "train"}, 400, {"type": "pause"}, 100, {"type": "step"}, {"type": "reset"})
    assert said[0]["type"] == "ready" and said[0]["systems"] == systems()
    assert [m["type"] for m in said[1:3]] == ["progress", "rollout"]  # an untrained network is shown at once
    assert {m["run"] for m in said[1:]} == {1}
    progress, rollouts = of_type(said, "progress"), of_type(said, "rollout")
    counts = [m["updates"] for m in progress]
    assert progress[-2]["updates"] == progress[-3]["updates"] + 1 > 1  # a step after the pause
    assert counts[-1] == 0 and counts[:-1] == sorted(counts[:-1])
    assert sum(len(m["losses"]) for m in progress) == progress[-2]["updates"]
    assert progress[1]["rate"] > 0 and all(g > 0 for g in progress[1]["gradients"])
    one = rollouts[-1]
    assert one["T"] == 6 == len(one["errors"]["hybrid"]) and len(one["fields"]["reference"]) == one["T"] * one["X"]
    assert rollouts[0]["errors"] == one["errors"]  # the same first weights after the reset


def test_settings_change_while_weights_stay():
    said = talk(configured(), {"type": "step"}, configured(run=2, m=5, noise=0.1, policy="cut"), {"type": "step"},
                configured(run=3, coupling="multiplicative"), configured(run=4, coupling="multiplicative", reset=True),
                configured(run=5, system="burgers"))
    updates = {run: [m["updates"] for m in of_type(said, "progress") if m["run"] == run] for run in range(1, 6)}
    assert updates == {1: [0, 1], 2: [1, 2], 3: [0], 4: [0], 5: [0]}
    errors = {run: [m["errors"]["hybrid"] for m in of_type(said, "rollout") if m["run"] == run] for run in range(1, 6)}
    assert errors[1][1] == errors[2][0] != errors[2][1]
    assert len(of_type(said, "progress")[3]["gradients"]) == 5


def test_divergence_is_an_outcome():
    said = talk(configured(lr=1e12), *[{"type": "step"}] * 6, {"type": "train"}, configured(run=2, reset=True),
                {"type": "step"})
    told, = of_type(said, "diverged")
    assert told["what"] == "loss" and told["updates"] < 6
    assert of_type(said, "progress")[-1]["updates"] == 1  # and it goes on after a reset


def test_a_chain_that_is_too_long_ends_as_the_chapter_says():
    """Chapter 06: with half of the first six seeds at the first update, with the others soon after."""
    told = STORIES["too-long"].settings
    settings = [SETTINGS | told | {"m": int(told["m"]), "noise": 0, "lr": float(told["lr"]), "seed": seed}
                for seed in range(6)]
    ends = javascript.run(javascript.WORKER, worker_source(), UNTIL_LOST, result="ends(ALL)", ALL=settings)
    assert sorted(ends)[:3] == [1, 1, 1] and all(1 < end < 16 for end in sorted(ends)[3:]), ends


def test_the_inverse_problem():
    said = talk(configured(system="inverse", coupling="physics", m=1), *[{"type": "step"}] * 40)
    first, last = of_type(said, "answers")[0], of_type(said, "answers")[-1]
    assert last["distance"] < 0.5 * first["distance"] and last["misfit"] < 0.5 * first["misfit"]
    assert set(last["fields"]) == {"observation", "truth", "answer", "explained"}
    supervised = talk(configured(system="inverse", coupling="supervised", m=1), *[{"type": "step"}] * 40)
    assert of_type(supervised, "answers")[-1]["distance"] > 0.7  # the mean of both answers is none of them


def test_what_is_wrong_is_said():
    said = talk({"type": "train"}, configured(coupling="viscosity"), {"type": "dance"})
    assert [m["message"] for m in of_type(said, "error")] == [
        "train came before configure", "there is no viscosity in ks", "unknown message dance"]


DATA = """
const system = SYSTEMS[NAME], kinds = {correction: Correction, flow: Correction, inverse: Inverse};
const problem = new kinds[system.about.kind](system, 3);
const random = new Random(5), batch = problem.next(random, 3);
function step(name, u, parameters) {
  const program = SYSTEMS[NAME][name], last = program.regions.indexOf("value");
  const made = operator([program], {u: u.length, value: SIZE}, parameters);
  return [...made.apply(Float32Array.from(u))];
}
"""


def data(name, result, size=1, **given):
    return javascript.run(javascript.WORKER, worker_source(), TALK, DATA, result=result, NAME=name, SIZE=size, **given)


def shaped(values, *shape):
    return torch.tensor(values).reshape(shape)


def assert_close(expected, found, tolerance=1e-5):
    assert (expected - found).abs().max() <= tolerance * expected.abs().max()


def test_windows_are_pieces_of_the_reference():
    """Every target is what the reference solver makes of the state before."""
    found = data("ks", "[[...batch.u0], ...batch.reference.map(u => [...u])]")
    states = shaped(found, 4, 8, 1, 48)
    _, reference = ks_solvers()
    for u, u_next in zip(states, states[1:]):
        assert_close(reference(u), u_next, 1e-4)
    assert 0.8 < states.std() < 1.8  # developed


def test_burgers_solvers():
    coarse, fine = burgers_solvers()
    generator = torch.Generator().manual_seed(0)
    viscosity = torch.linspace(0.1, 0.4, 8)
    u, u_fine = (torch.randn(8, 1, n, generator=generator) for n in (32, 256))
    given = {"PARAMETERS": {"viscosity": viscosity.tolist()}}
    for name, solver, x, size in (("solver", coarse, u, 256), ("reference", fine, u_fine, 2048)):
        found = data("burgers", f"step('{name}', U, PARAMETERS)", size, U=x.flatten().tolist(), **given)
        assert_close(solver(x, viscosity=viscosity), shaped(found, *x.shape))
    found = data("burgers", "step('observe', U, {})", 256, U=u_fine.flatten().tolist())
    assert_close(cell_averages(u_fine, 32), shaped(found, 8, 1, 32))
    assert isinstance(coarse.solver, Burgers)


def test_observations_of_the_inverse_problem():
    found = data("inverse", "[[...batch.u0], [...batch.reference[0]]]")
    y, u = (shaped(values, 16, 1, 32) for values in found)
    assert_close(rod.measurement(16)(u, diffusivity=rod.DIFFUSIVITY), y)
    signs = u.sign().mean((1, 2))
    assert (signs.abs() == 1).all() and signs.unique().numel() == 2  # each answer has one sign, and both occur


def test_random_functions():
    """Zero mean, mean square 1, no waves above the highest, and normal coefficients."""
    found = data("ks", "times(400, () => [...randomFourier(random, 32, {modes: 3, decay: 0})])")
    u = shaped(found, 400, 32).double()
    spectrum = torch.fft.rfft(u).abs() / 32
    assert u.mean(1).abs().max() < 1e-6 and (u.square().mean(1) - 1).abs().max() < 1e-5
    assert spectrum[:, 4:].max() < 1e-6
    assert spectrum[:, 1:4].square().mean(0) == pytest.approx([1 / 6] * 3, rel=0.15)


def test_flow_solvers():
    """Against the spectral projection; and a coarse cell has the outflow of the fine cells in it."""
    v, v_fine = (random_velocity(4, (n, n), modes=3, seed=0) + 0.1 * torch.randn(4, 2, n, n) for n in (32, 64))
    viscosity = torch.linspace(1e-4, 1e-3, 4)
    given = {"PARAMETERS": {"viscosity": viscosity.tolist()}}
    for name, advection, x in (("solver", semi_lagrangian, v), ("reference", mac_cormack, v_fine)):
        solver = NavierStokes(tuple(x.shape[2:]), (1.0, 1.0), 0.025 * 32 / x.shape[2], advection)
        found = data("flow", f"step('{name}', U, PARAMETERS)", x.numel(), U=x.flatten().tolist(), **given)
        assert_close(solver(x, viscosity=viscosity), shaped(found, *x.shape), 1e-4)
    coarse = shaped(data("flow", "step('observe', U, {})", v.numel(), U=v_fine.flatten().tolist()), *v.shape)
    out, out_fine = (Divergence((n, n), (1.0, 1.0))(u) for n, u in ((32, coarse), (64, v_fine)))
    assert_close(nn.functional.avg_pool2d(out_fine, 2), out)


def test_random_velocities():
    """Without divergence, mean square 1 but for the differences, no waves above the highest, and of both components."""
    found = data("flow", "times(200, () => [...randomVelocity(random, 32, {modes: 3})])")
    v = shaped(found, 200, 2, 32, 32).double()
    expected = random_velocity(200, (32, 32), modes=3, seed=0, dtype=torch.float64)
    assert Divergence((32, 32), (1.0, 1.0))(v).abs().max() < 1e-4
    assert (v.square().sum(1).mean((1, 2)) - expected.square().sum(1).mean((1, 2)).mean()).abs().max() < 0.03
    power, wanted = (torch.fft.fft2(x).abs().square().mean((0, 1)) for x in (v, expected))
    assert power[4:-3].max() < 1e-8 * power.max() and power[:, 4:-3].max() < 1e-8 * power.max()
    assert ((power - wanted).abs() < 0.35 * wanted + 1e-6 * power.max()).all()


def test_a_network_keeps_vortices_alive():
    said = talk(configured(system="flow", m=4), *[{"type": "step"}] * 60)
    first, last = of_type(said, "rollout")[0], of_type(said, "rollout")[-1]
    solver = sum(first["errors"]["solver"])
    assert sum(first["errors"]["hybrid"]) == pytest.approx(solver, rel=0.05)
    assert sum(last["errors"]["hybrid"]) < 0.8 * solver
    assert len(last["fields"]["hybrid"]) == last["T"] * last["X"] == 6 * 2 * 32 * 32


def test_first_weights_have_the_sizes_of_the_network():
    found = javascript.run(javascript.WORKER, worker_source(), result="""(() => {
      const model = SYSTEMS.burgers.models.additive, random = new Random(0);
      const training = new Training(model, SETTINGS, KERNELS, CONSTANTS, random);
      training.start(random);
      return [model.weights, [...training.view("weights")]];
    })()""", SETTINGS=SETTINGS)
    sizes, weights = found
    parts = torch.tensor(weights).split([size for size, _ in sizes])
    for (size, expected), part in zip(sizes, parts, strict=True):
        if size > 500:
            assert part.std() == pytest.approx(expected, rel=0.1) and abs(part.mean()) < 0.1 * expected
        elif expected == 0:
            assert not part.any()


@pytest.mark.parametrize("solver", [ks.coarse_solver(), ks.reference_solver()], ids=["coarse", "reference"])
def test_matrices_do_what_the_spectral_solver_does(solver):
    torch.manual_seed(0)
    u, length = torch.randn(3, 1, 48), 16 * torch.pi
    assert_close(solver(u, length=torch.full((3,), length)), KuramotoSivashinskyMatrices(solver, length)(u))


@pytest.mark.parametrize("advection", [semi_lagrangian, mac_cormack])
def test_matrices_project_as_the_spectrum_does(advection):
    v = random_velocity(3, (12, 15), modes=3, seed=0, dtype=torch.float64)
    v = v + 0.3 * torch.randn(v.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    arguments = (12, 15), (1.0, 1.5), 0.02, advection
    expected, found = (kind(*arguments)(v, viscosity=1e-3) for kind in (NavierStokes, NavierStokesMatrices))
    assert_close(expected, found, 1e-13)
