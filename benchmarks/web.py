"""The page that trains against torch: gradients and times of the same network on the same batch, in one run."""

import json
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from dpbook_course.web import systems, worker_source
from dpbook_course.web.systems import BATCH, VISCOSITIES, burgers_chains, correction, ks_chains
from dpbook_utils.data import random_fourier
from dpbook_utils.objectives import Objective, parameters_of
from dpbook_utils.training import Gradients
from dpbook_utils.update import TracedGradients

from .cases import LEARNING_RATE, _assert_close, _Update
from .measure import interleaved

START = """
globalThis.postMessage = () => {}; globalThis.onmessage = null;
%s
const {system, coupling, weights, batch, m, lr} = JSON.parse(require("fs").readFileSync(process.argv[2]));
const settings = {m, lr, policy: "full", placement: "every", truncation: m, noise: 0};
const training = new Training(SYSTEMS[system].models[coupling], settings, KERNELS, CONSTANTS, new Random(0));
training.view("weights").set(weights);
"""
LISTEN = """
require("readline").createInterface({input: process.stdin}).on("line", n => {
  const numbers = [];
%s
  console.log(JSON.stringify(numbers));
});
"""
TRAIN = "for (let k = 0; k < +n; k++) numbers.push(training.update(batch));"
GRADIENT = """
  training.load(batch);
  training.forward();
  training.backward();
  numbers.push(...training.view("gradient"));
"""


def updates(repeats: int, num_steps: int = 8, at_once: int = 20) -> list[dict]:
    """Times of ``at_once`` updates; without Node.js, none.

    A network corrects coarse Burgers: roll-out, backward pass, clipping, Adam, as recorded in torch and as the page
    does it, with its kernels compiled and in JavaScript.
    """
    if not _node():
        return []
    objective, batch = correction(burgers_chains()["additive"], num_steps), _batch("burgers", num_steps)
    given = _given("burgers", "additive", objective, batch)
    update = _Update(TracedGradients(objective), batch)
    with _page(TRAIN, worker_source(), given) as fast, _page(TRAIN, worker_source(compiled=False), given) as slow:
        ways = {"torch, recorded": lambda n: [float(update()) for _ in range(n)], "page, compiled": fast,
                "page, JavaScript": slow}
        expected = ways["torch, recorded"](3)
        for name in ("page, compiled", "page, JavaScript"):
            _assert_close(f"losses of three updates, {name}", [torch.tensor(expected)], [torch.tensor(ways[name](3))])
            ways[name](100 * (repeats > 2))  # the engine's own compiler sets in after a while
        times = interleaved({name: partial(way, at_once) for name, way in ways.items()}, repeats)
    return [{"case": f"In the reader's browser, Burgers, 32 points, batch {BATCH}, {len(given['weights'])} weights",
             "what": f"{at_once} updates, unrolled {num_steps} steps", "times": times}]


def equality(num_steps: int = 8) -> list[dict]:
    """How far gradients of the page are from torch's, as a share of the largest entry; without Node.js, none.

    From random weights far from zero, so that no gradient is small by itself.
    """
    rows = []
    for system, chains in (("burgers", burgers_chains()), ("ks", ks_chains())) if _node() else ():
        for coupling, step in chains.items():
            objective, batch = correction(step, num_steps), _batch(system, num_steps)
            for w in objective.parameters():
                w.data = 0.3 * torch.randn_like(w) / max(w[0].numel() / w.shape[-1], 1) ** 0.5
            Gradients(objective)(batch)
            expected = torch.cat([w.grad.flatten() for w in objective.parameters()])
            given = _given(system, coupling, objective, batch)
            row = {"system": systems()[system]["text"], "coupling": coupling, "num_steps": num_steps}
            for kind in ("compiled", "JavaScript"):
                with _page(GRADIENT, worker_source(compiled=kind == "compiled"), given) as page:
                    found = torch.tensor(page(1))
                row[kind] = float((found - expected).abs().max() / expected.abs().max())
            rows.append(row)
    return rows


def _node() -> str | None:
    node = shutil.which("node")
    if node is None:
        print("Node.js is not installed: the page that trains is left out (apt-get install nodejs)")
    return node


def _batch(system: str, num_steps: int) -> dict[str, torch.Tensor]:
    points, modes, scale = {"burgers": (32, 3, 1.0), "ks": (48, 4, 0.1)}[system]
    states = scale * random_fourier(BATCH * (num_steps + 1), points, modes=modes, seed=0).unflatten(0, (BATCH, -1))
    viscosity = {"viscosity": torch.linspace(*VISCOSITIES, BATCH)} if system == "burgers" else {}
    return {"u0": states[:, 0], "reference": states[:, 1:], **viscosity}


def _given(system: str, coupling: str, objective: Objective, batch: dict[str, torch.Tensor]) -> dict:
    """What the page's script reads."""
    parameters = {name: x.tolist() for name, x in parameters_of(batch).items()}
    reference = [x.flatten().tolist() for x in batch["reference"].unbind(1)]
    return {"system": system, "coupling": coupling, "m": len(reference), "lr": LEARNING_RATE,
            "weights": torch.cat([w.detach().flatten() for w in objective.parameters()]).tolist(),
            "batch": {"u0": batch["u0"].flatten().tolist(), "reference": reference, "parameters": parameters}}


@contextmanager
def _page(script: str, worker: str, given: dict):
    """``n -> numbers``: the script's answer to ``n``, in Node.js with a worker's text."""
    with tempfile.TemporaryDirectory() as folder:
        program, data = Path(folder, "worker.js"), Path(folder, "data.json")
        program.write_text(START.replace("%s", worker) + LISTEN.replace("%s", script), encoding="utf-8")
        data.write_text(json.dumps(given), encoding="utf-8")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([shutil.which("node"), program, data], **pipes) as process:

            def answer(n: int) -> list[float]:
                process.stdin.write(f"{n}\n")
                process.stdin.flush()
                return json.loads(process.stdout.readline())

            try:
                yield answer
            finally:
                process.stdin.close()
