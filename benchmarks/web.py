"""The page that trains against torch: one update of the same network on the same batch, in one run."""

import json
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from dpbook_utils.data import random_fourier
from dpbook_utils.update import TracedGradients
from dpbook_utils.web import worker_source
from dpbook_utils.web.systems import BATCH, VISCOSITIES, burgers_chains, correction

from .cases import LEARNING_RATE, _assert_close, _Update
from .measure import interleaved

TRAIN = """
globalThis.postMessage = () => {}; globalThis.onmessage = null;
%s
const {weights, batch, m, lr} = JSON.parse(require("fs").readFileSync(process.argv[2]));
const settings = {m, lr, policy: "full", placement: "every", truncation: m, noise: 0};
const training = new Training(SYSTEMS.burgers.models.additive, settings, KERNELS, CONSTANTS, new Random(0));
training.view("weights").set(weights);
require("readline").createInterface({input: process.stdin}).on("line", n => {
  const losses = [];
  for (let k = 0; k < +n; k++) losses.push(training.update(batch));
  console.log(JSON.stringify(losses));
});
"""


def updates(repeats: int, num_steps: int = 8, at_once: int = 20) -> list[dict]:
    """Times of ``at_once`` updates; without Node.js, none.

    A network corrects coarse Burgers: roll-out, backward pass, clipping, Adam, as recorded in torch and as the page
    does it, with its kernels compiled and in JavaScript.
    """
    node = shutil.which("node")
    if node is None:
        print("Node.js is not installed: the page that trains is left out (apt-get install nodejs)")
        return []
    objective = correction(burgers_chains()["additive"], num_steps)
    states = random_fourier(BATCH * (num_steps + 1), 32, modes=3, seed=0).unflatten(0, (BATCH, -1))
    u0, reference = states[:, 0], states[:, 1:]
    batch = {"u0": u0, "reference": reference, "viscosity": torch.linspace(*VISCOSITIES, BATCH)}
    given = {"weights": torch.cat([w.detach().flatten() for w in objective.parameters()]).tolist(), "m": num_steps,
             "lr": LEARNING_RATE, "batch": {"u0": u0.flatten().tolist(), "reference": [
                 reference[:, k].flatten().tolist() for k in range(num_steps)],
                 "parameters": {"viscosity": batch["viscosity"].tolist()}}}
    update = _Update(TracedGradients(objective), batch)
    with _page(node, worker_source(), given) as fast, _page(node, worker_source(compiled=False), given) as slow:
        ways = {"torch, recorded": lambda n: [float(update()) for _ in range(n)], "page, compiled": fast,
                "page, JavaScript": slow}
        expected = ways["torch, recorded"](3)
        for name in ("page, compiled", "page, JavaScript"):
            _assert_close(f"losses of three updates, {name}", [torch.tensor(expected)], [torch.tensor(ways[name](3))])
            ways[name](100 * (repeats > 2))  # the engine's own compiler sets in after a while
        times = interleaved({name: partial(way, at_once) for name, way in ways.items()}, repeats)
    return [{"case": f"In the reader's browser, Burgers, 32 points, batch {BATCH}, {len(given['weights'])} weights",
             "what": f"{at_once} updates, unrolled {num_steps} steps", "times": times}]


@contextmanager
def _page(node: str, worker: str, given: dict):
    """``n -> losses of n updates`` by a worker's text in Node.js."""
    with tempfile.TemporaryDirectory() as folder:
        script, data = Path(folder, "worker.js"), Path(folder, "data.json")
        script.write_text(TRAIN.replace("%s", worker), encoding="utf-8")
        data.write_text(json.dumps(given), encoding="utf-8")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([node, script, data], **pipes) as process:

            def train(n: int) -> list[float]:
                process.stdin.write(f"{n}\n")
                process.stdin.flush()
                return json.loads(process.stdout.readline())

            try:
                yield train
            finally:
                process.stdin.close()
