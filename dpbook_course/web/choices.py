"""What a choice of the front page's trainer is worth: measured with the worker's own text, and told under the controls.

    python -m dpbook_course.web.choices      # computes what is missing; needs Node.js

Each choice is changed alone, from the story's start, and trained with the seeds that the page offers, so that data,
first weights and batches are those that a reader meets. What is stored belongs to the text that computed it: after a
change of the kernels or of the worker nothing is told until it has been measured anew.   Chapter: 03_unrolling.
"""

import argparse
import functools
import hashlib
import json
import math
import shutil
import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dpbook_utils.files import replacing, writable

from ..claims.effects import AS_CLAIMED, NO_DIFFERENCE, OTHER_WAY, PairedRatio, paired_ratio
from ..commands import program
from ..experiments.provenance import processor
from ..experiments.results import folder
from .bundle import text
from .compiled import source
from .stories import STORIES
from .systems import exported, worker_source

STORY = "flow"
UPDATES, JUDGED = 600, 100  # updates of a training, and between two of its roll-outs
LAST = 3  # roll-outs, whose errors are averaged: a single one jumps from update to update
SEEDS = tuple(range(6))
START = "as it opens"
CHANGES = {
    START: {}, "cut": {"policy": "cut"}, "m 1": {"m": "1"}, "right-hand side": {"coupling": "right-hand side"},
    "final": {"placement": "final"}, "noise 0.01": {"noise": "0.01"}, "m 8": {"m": "8"},
    "push-forward": {"policy": "pushforward"}, "rate 0.003": {"lr": "0.003"}, "rate 0.0003": {"lr": "0.0003"},
    "m 2": {"m": "2"}, "noise 0.1": {"noise": "0.1"},
}

# Trains with SETTINGS as the page would, and writes its roll-outs' errors and the processor's time.
TWIN = """
onmessage({data: {type: "configure", settings: SETTINGS, run: 1, reset: true}});
session.problem.prepare();
const errors = [];
let spent = 0;
while (!session.diverged && errors.length * JUDGED < UPDATES) {
  const before = process.cpuUsage();
  for (let k = 0; k < JUDGED && !session.diverged; k++) session.update();
  const {user, system} = process.cpuUsage(before);
  spent += user + system;
  const {ratio} = session.problem.judge(session.model, session.training.view("weights"));
  errors.push(session.diverged ? null : ratio);
}
process.stdout.write(JSON.stringify({errors, ms: spent / 1000 / Math.max(session.updates, 1)}));
"""


def path() -> Path:
    """Where it is stored."""
    return folder() / "trainer.json"


def code() -> str:
    """A hash of what the errors depend on: the kernels, and the scripts that train with them."""
    library, _ = exported((STORY,))
    parts = [source(library), *map(text, ("runtime.js", "problems.js", "worker.js")), json.dumps(settings({}, 0))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def settings(change: Mapping[str, str], seed: int) -> dict:
    """What the page would tell its worker."""
    about = exported((STORY,))[1][STORY]["about"]
    chosen = {**about["start"], **STORIES[STORY].settings, **change}
    numbers = {name: float(chosen[name]) for name in ("lr", "noise")}
    return {**chosen, "m": int(chosen["m"]), "truncation": int(chosen["truncation"]), "lr": numbers["lr"],
            "noise": numbers["noise"] * about["deviation"], "seed": seed}


def measure(change: Mapping[str, str], seed: int) -> dict:
    """One training: ``errors``, of the roll-outs after every JUDGED updates as shares of the solver's, and ``ms``, the
    processor's time of an update. After a divergence an error is None.
    """
    return in_node(TWIN, SETTINGS=settings(change, seed), UPDATES=UPDATES, JUDGED=JUDGED)


def in_node(script: str, **given) -> dict:
    """What a script that has the worker's ``session`` and the given constants writes, in Node.js.

    Raises: RuntimeError without Node.js, or if the script fails.
    """
    node = shutil.which("node")
    if node is None:
        raise RuntimeError("choices: Node.js is needed to run what the page runs; on Debian: apt-get install nodejs")
    whole = "\n".join(["globalThis.postMessage = () => {}; globalThis.onmessage = null;",
                       *(f"const {name} = {json.dumps(value)};" for name, value in given.items()),
                       worker_source(names=(STORY,)), script])
    done = subprocess.run([node, "-"], input=whole, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"choices: Node.js ended with\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def stored() -> dict[str, dict[str, dict]]:
    """``{change: {seed: training}}`` of the present code; empty if there is nothing."""
    if not path().exists():
        return {}
    found = json.loads(path().read_text(encoding="utf-8"))
    return found["trainings"] if found["code"] == code() else {}


def error(training: Mapping) -> float:
    """Of a training: the geometric mean of its last roll-outs' errors; infinite if it diverged."""
    errors = training["errors"][-LAST:]
    return math.inf if None in errors else math.prod(errors) ** (1 / len(errors))


def compared(trainings: Mapping[str, Mapping], change: str) -> PairedRatio | None:
    """A change's error against that of the choices with which the trainer opens; None if a seed is missing."""
    names = [str(seed) for seed in SEEDS]
    if any(name not in trainings.get(one, {}) for one in (START, change) for name in names):
        return None
    return paired_ratio(*([error(trainings[one][name]) for name in names] for one in (change, START)))


def slower(trainings: Mapping[str, Mapping], change: str) -> float:
    """How many times as long an update takes after the change, of the processor's time: the median over the seeds."""
    return statistics.median(trainings[change][str(seed)]["ms"] / trainings[START][str(seed)]["ms"] for seed in SEEDS)


def sentence(found: PairedRatio, times: float) -> str:
    """What the page says of a change: its roll-out error against that without it, and how long an update takes."""
    reading = {AS_CLAIMED: "a smaller error", OTHER_WAY: "a larger error", NO_DIFFERENCE: "no difference"}
    cost = "" if 0.8 < times < 1.25 else f" An update takes {times:.2g} times as long."
    word = reading.get(found.reading, "no clear difference")
    return (f"Measured here, {found.num_pairs} seeds, {UPDATES} updates: {word}, {found} times that without this "
            f"change.{cost}")


@functools.cache
def told() -> dict | None:
    """``{"story": STORY, "texts": {control: {value: sentence}}}`` of what has been measured; None if nothing has."""
    trainings, found = stored(), {}
    for name, change in CHANGES.items():
        ratio = compared(trainings, name) if change else None
        if ratio is not None:
            (control, value), = change.items()
            found.setdefault(control, {})[value] = sentence(ratio, slower(trainings, name))
    return {"story": STORY, "texts": found} if found else None


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    argparse.ArgumentParser(prog="python -m dpbook_course.web.choices", description=__doc__).parse_args(arguments)
    writable(path())
    trainings = stored()
    for name, change in CHANGES.items():
        for seed in SEEDS:
            if str(seed) in trainings.get(name, {}):
                continue
            trainings.setdefault(name, {})[str(seed)] = one = measure(change, seed)
            with replacing(path()) as file:
                content = {"code": code(), "processor": processor(), "updates": UPDATES, "judged": JUDGED,
                           "trainings": trainings}
                file.write(f"{json.dumps(content, indent=1)}\n".encode())
            print(f"{name}, seed {seed}: {error(one):.3f} of the solver's error, {one['ms']:.1f} ms an update",
                  flush=True)
    return 0


if __name__ == "__main__":
    program(main)
