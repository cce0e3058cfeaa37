"""The trainings behind the weights, repeated by the studies' own functions; each is stored as it is done."""

from collections.abc import Iterable
from pathlib import Path

import torch

from dpbook_utils.files import writable_folder
from dpbook_utils.networks import Ensemble

from ..experiments import results
from .files import FOLDER, Card, WeightsError, path_of, read, save
from .kept import KEPT, SEEDS, Kept


def train(study: str | None = None, setup: str | None = None, root: Path | None = None) -> list[str]:
    """Train and store what is missing, in the order of ``KEPT``.

    Args:
        study, setup: only those of this experiment, and only this one of its set-ups.
        root: folder of the weights; default: the package's.
    Returns: what went wrong, one text each; files in the way are named and left as they are.
    Raises: LookupError for a study or set-up of which nothing is kept; OSError if the folder cannot be written.
    """
    todo, problems = _missing(_asked(study, setup), root)
    if todo:
        writable_folder(root or FOLDER)
    for number, (kept, name) in enumerate(todo, 1):
        updates = kept.setups[name]
        print(f"{number}/{len(todo)} {kept.spec.id}, {name}, {updates} updates ...", flush=True)
        for card in compute(kept, name, root):
            print(f"  seed {card.seed}: {card.metric} {card.error:.6g}{_beside(kept, card)}, "
                  f"{card.provenance['seconds']:.0f} s", flush=True)
    return problems


def compute(kept: Kept, setup: str, root: Path | None = None) -> list[Card]:
    """One training: stores the networks that are not there, and returns the cards of all of them."""
    spec, row, updates = kept.spec, kept.row(setup), kept.setups[setup]
    seeds, threads = kept.together, torch.get_num_threads()
    torch.set_num_threads(1)  # as in the studies: how many threads share a sum changes its rounding
    try:
        provenance = results.provenance()
        step = kept.fitted(row, seeds, updates)
        about = provenance()
        with torch.no_grad():
            errors, short = kept.error(step, len(seeds)), kept.short(step, len(seeds))
    finally:
        torch.set_num_threads(threads)
    (networks,) = [module for module in step.modules() if isinstance(module, Ensemble)]
    found = []
    for place, seed in enumerate(SEEDS):
        found.append(Card(kept.problem, setup, seed, updates, spec.id, spec.fingerprint(setup), tuple(seeds),
                          kept.metric, float(errors[place]), float(short[place]), about))
        if not found[-1].path(root).exists():  # a run that was killed may have stored one of them
            save(found[-1], networks.member(place).state_dict(), root)
    return found


def recorded(kept: Kept, card: Card) -> float | None:
    """What the study's record says of the same training; None if there is none."""
    records, _ = results.load(kept.spec)
    for record in records:
        if (record.variant, record.budget) == (card.setup, card.updates) and card.seed in record.seeds:
            return float(record.metrics[card.metric][record.seeds.index(card.seed)])
    return None


def _beside(kept: Kept, card: Card) -> str:
    stored = recorded(kept, card)
    return "" if stored is None else f" (the study's record: {stored:.6g}, {card.error / stored - 1:+.1e})"


def _asked(study: str | None, setup: str | None) -> list[tuple[Kept, str]]:
    """All trainings of a study, in order."""
    studies, wanted = dict.fromkeys(kept.spec.id for kept in KEPT), study and study.strip().lower()
    if study is not None and wanted not in studies:
        raise LookupError(f"no weights are kept of {study!r}; there are {', '.join(studies)}")
    found = [(kept, name) for kept in KEPT for name in kept.setups if wanted in (None, kept.spec.id)]
    names = [name for _, name in found]
    if setup is not None and setup not in names:
        raise LookupError(f"no weights are kept of the set-up {setup!r}; there are "
                          f"{', '.join(map(repr, dict.fromkeys(names)))}")
    return [(kept, name) for kept, name in found if setup in (None, name)]


def _missing(asked: Iterable[tuple[Kept, str]], root: Path | None) -> tuple[list[tuple[Kept, str]], list[str]]:
    """The trainings of which a file is missing, and what is wrong with the files that are there."""
    todo, problems = [], []
    for kept, name in asked:
        paths = [path_of(kept.spec.id, name, kept.setups[name], seed, root) for seed in SEEDS]
        there = [path for path in paths if path.exists()]
        if len(there) < len(paths):
            todo.append((kept, name))
        for path in there:
            try:
                card, _ = read(path)
                if card.fingerprint != kept.spec.fingerprint(name):
                    raise WeightsError(f"{path} was trained under other settings and is not overwritten; move it away "
                                       f"to train it anew: {results.aside(path)}")
            except WeightsError as error:
                problems.append(str(error))
    return todo, problems
