"""Trained networks, loaded: ``course.load`` and the table of what there is, ``course.trained``."""

import functools
import re
from pathlib import Path

import pandas
import torch
from torch import nn

from dpbook_utils import arguments
from dpbook_utils.names import meant
from dpbook_utils.networks import ConvResNet

from .files import FOLDER, Card, WeightsError, cards, read

TRAIN = "python -m dpbook_course.experiments weights"


def load(problem: str, setup: str, seed: int = 0, updates: int | None = None, *, root: Path | None = None) -> nn.Module:
    """A trained step of the course, ``u -> u_next``, with the solver that its network corrects.

    Roll it out with ``dp.predict`` or ``dp.Rollout``, on states such as those of the problem's ``trajectories``; train
    it further as any other step. ``trained`` lists what there is, and with which error.

    Args:
        problem: such as ``"ks"``, ``"burgers"`` or ``"wake"``, in capitals or not.
        setup: a variant of the study, such as ``"WIG-3"``.
        seed: of the initial weights and batches.
        updates: for how many it was trained; default: the most that there are.
        root: folder of the weights; default: those of the package.

    Raises: LookupError for a problem, set-up, seed or number of updates that there is not; WeightsError for a file that
        is damaged, was trained under other settings or with another major version of torch.
    """
    for name, value in (("problem", problem), ("setup", setup), ("seed", seed)):
        if value is None:
            raise arguments.refusal("load", name, value, "one of those that course.trained() lists")
    root = None if root is None else arguments.path("load", "root", root)
    card, weights = read(_chosen(problem, setup, seed, updates, root).path(root))
    step, network = chain(card)
    _check_torch(card, root)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if found != expected:
        raise WeightsError(f"{card.path(root)} has weights of other names or shapes than the network of {card.study}; "
                           f"move it away and train it anew: {TRAIN} {card.study}")
    network.load_state_dict(weights)
    return step


def trained(root: Path | None = None) -> pandas.DataFrame:
    """The networks that ``load`` knows, one row each.

    Columns: problem, setup, updates, seed: what ``load`` takes; study; weights: their number; metric and error: the
    study's measure, and what it found after the training; data: whose ``trajectories`` have states to begin with.
    Raises: WeightsError for a file that is damaged, LookupError if there are none.
    """
    from .kept import KEPT

    root = None if root is None else arguments.path("trained", "root", root)
    found, problems = cards(root)
    for problem in problems:
        raise problem
    if not found:
        raise LookupError(f"trained: there are no weights in {root or FOLDER}; train them: {TRAIN}")
    data = {kept.problem: f"course.problems.{kept.data}" for kept in KEPT}
    rows = [{"problem": card.problem, "setup": card.setup, "updates": card.updates, "seed": card.seed,
             "study": card.study, "weights": sum(map(torch.numel, read(card.path(root))[1].values())),
             "metric": card.metric, "error": card.error, "data": data[card.problem]} for card in found]
    order = list(data)
    return pandas.DataFrame(rows).sort_values(
        "problem", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def chain(card: Card) -> tuple[nn.Module, ConvResNet]:
    """(step, the network in it), not trained, for a card.   Raises: WeightsError for other settings than the card's."""
    kept = _kept().get((card.study, card.setup))
    expected = kept.spec.fingerprint(card.setup) if kept else "none"
    if card.fingerprint != expected:
        raise WeightsError(f"the weights of {card.study}, {card.setup} were trained under other settings "
                           f"(specification {card.fingerprint}, now {expected}); move their files away and train them "
                           f"anew: {TRAIN} {card.study}")
    network = kept.network(kept.row(card.setup), card.seed)
    return kept.chain(kept.row(card.setup), network), network


@functools.cache
def _kept() -> dict:
    """``{(study, set-up): Kept}``."""
    from .kept import KEPT  # the studies, whose import takes its time

    return {(kept.spec.id, setup): kept for kept in KEPT for setup in kept.setups}


def _chosen(problem: str, setup: str, seed: int, updates: int | None, root: Path | None) -> Card:
    """The card that is meant.   Raises: LookupError, which names what there is."""
    found, problems = cards(root)
    asked = {"problem": problem, "setup": setup, "seed": seed, "updates": updates}
    for name, given in asked.items():
        if given is None:
            continue
        known = sorted({getattr(card, name) for card in found})
        found = [card for card in found if _plain(getattr(card, name)) == _plain(given)]
        if not found:
            for error in problems:  # perhaps the file that is asked for
                raise error
            near = meant(str(given), map(str, known)) if known else ""
            there = ", ".join(map(repr, known)) or "none"
            label = {"setup": "set-up", "updates": "number of updates"}.get(name, name)
            of = ", ".join(repr(asked[earlier]) for earlier in ("problem", "setup")[:list(asked).index(name)])
            raise LookupError(f"load: no weights for the {label} {given!r}{' of ' if of else ''}{of}; {near}there are "
                              f"{there}")
    return max(found, key=lambda card: card.updates)


def _plain(value: str | int) -> str | int:
    return value.strip().lower() if isinstance(value, str) else value


def _check_torch(card: Card, root: Path | None) -> None:
    then, now = card.provenance["versions"]["torch"], torch.__version__
    if re.match(r"\d+", then)[0] != re.match(r"\d+", now)[0]:
        raise WeightsError(f"{card.path(root)} was trained with torch {then}, and this is torch {now}, whose "
                           f"operations may differ; install torch {then.split('.')[0]}, or move the file away and "
                           f"train it anew: {TRAIN} {card.study}")
