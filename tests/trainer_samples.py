"""A made-up trainer, quick to make, and pages of trainers, for the tests."""

import importlib.util
from pathlib import Path

from dpbook_utils.web.stories import Story
from dpbook_utils.web.trainer import Trainer

START = {"story": "", "system": "waves", "coupling": "additive", "m": 4, "policy": "full", "truncation": 2,
         "placement": "every", "noise": 0, "lr": "0.003", "seed": 0}
WAVES = {"text": "Waves", "kind": "correction", "couplings": {"additive": "added to u", "inside": "inside P"},
         "policies": {"additive": ["full", "cut", "truncated", "pushforward"], "inside": ["full"]}, "m": [1, 16],
         "dt": 0.5, "T": 8, "units": {"x": "m", "t": "s", "u": "m/s"}, "deviation": 0.5, "start": START}
FRONTS = {**WAVES, "couplings": {"other": "another"}, "policies": {"other": ["full"]}}
STORIES = {"long": Story("A long chain", "Try it and see.", {"m": "16", "placement": "final"})}


def trainer(name: str = "made-up", worker: str = 'postMessage("<b>")', stories=STORIES, **start) -> Trainer:
    return Trainer(name, {**START, **start}, {"waves": WAVES, "fronts": FRONTS}, worker, stories)


def extension(name: str):
    """A Sphinx extension of the book as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"book/_ext/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(*shown, body: str = "") -> str:
    """A page as the book has it: what is shared once, and the policy of a built page."""
    outputs = extension("shared_text").once("\n".join(one._repr_html_() for one in shown))
    return extension("finished_pages").protected(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Trainers</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"></head><body>{body}{outputs}</body></html>')
