"""The stories that the trainer tells: choices to start from, what to try, and what to look at.

Chapters: 01_physics_as_loss, 03_unrolling, 04_coupling, 06_long_horizons, 07_noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Story:
    """text: its name for people.   story: what to try and to see.   settings: ``{control: value}``."""

    text: str
    story: str
    settings: Mapping[str, str]


def _chain(system: str, m: int, **others: str) -> dict[str, str]:
    """The choices of a correction: everything at its plainest but for what is given."""
    return {"system": system, "coupling": "additive", "m": str(m), "policy": "full", "placement": "every", "noise": "0",
            "lr": "0.003", **others}


STORIES = {
    "two-answers": Story(
        "Two right answers, one label",
        "A sensor measures the square of a temperature, so every measurement has two right answers. The supervised "
        "network sees one of them as a label, now this, now that: train, and watch its answer settle between the two, "
        "where neither is. Then let the loss see what the answer would measure: the solver does not mind which.",
        {"system": "inverse", "coupling": "supervised", "lr": "0.003"}),
    "one-step": Story(
        "One step looks perfect, many do not",
        "The network corrects a single step. The loss falls far and stays low, but the roll-out over a hundred steps "
        "jumps from one picture to the next: it feeds on small errors that no training has seen. After some thousand "
        "updates move the unroll length to 8, without a reset. The loss shows at once what was hidden; wait until it "
        "has fallen, and compare the roll-out with its ghost. It still jumps, but at a lower level.",
        _chain("burgers", 1)),
    "many-steps": Story(
        "Eight steps: trained on what it will meet",
        "The loss sees eight steps in a row, so the network meets its own errors in training. An update takes about "
        "eight times as long as with one step. Is it worth it after equally many updates, or after the same time?",
        _chain("burgers", 8)),
    "coupling": Story(
        "How the network enters",
        "The network's output acts as a force inside a coarse Burgers solver. Train it for some hundred updates, then "
        "choose another coupling: the run before stays as a ghost. Which one starts well, and which one ends well?",
        _chain("burgers", 4, coupling="right-hand side")),
    "too-long": Story(
        "Too long, too early",
        "Sixteen steps of an unstable solver with an untrained network between them, judged at the end only. Press "
        "train. Then reset, set the unroll length to 1, train for a few hundred updates, and lengthen the chain little "
        "by little while it trains: what was impossible at the start works now, though not with every seed.",
        _chain("ks", 16, placement="final")),
    "cut": Story(
        "The gradient cut at the solver",
        "Eight steps, but no derivative of the solver is used: this is what a solver without gradients allows. Look at "
        "the gradient along the chain, then switch to the full gradient and to push-forward. The roll-out tells what "
        "each of them costs.",
        _chain("ks", 8, policy="cut")),
    "noise": Story(
        "Noise instead of steps",
        "One step, but the states are disturbed before the network sees them, so that it learns to bring them back. "
        "Try several strengths, each from new weights: the loss grows with the noise, so judge by the roll-out, which "
        "jumps from one picture to the next: look at several of them, or end with a smaller learning rate.",
        _chain("ks", 1, noise="0.01")),
    "flow": Story(
        "A flow that a network keeps alive",
        "Vortices in a periodic box: the coarse solver on 32 x 32 cells wipes them out, its reference on 64 x 64 does "
        "not. Train for a minute: the network puts back what the numerics takes, and the flow keeps its energy. Then "
        "try one step, from new weights: after as many updates it does about as well, and those take a quarter of the "
        "time; but as it goes on its roll-out gets worse again, and with most seeds four steps end lower. Cut the "
        "gradient at the solver, too: here, that makes no clear difference.",
        _chain("flow", 4, lr="0.001")),
}
