"""A made-up trainer, quick to make, for the tests."""

from dpbook_course.web.stories import Story
from dpbook_course.web.trainer import Trainer

START = {"story": "", "system": "waves", "coupling": "additive", "m": 4, "policy": "full", "truncation": 2,
         "placement": "every", "noise": 0, "lr": "0.003", "seed": 0}
WAVES = {"text": "Waves", "kind": "correction", "couplings": {"additive": "added to u", "inside": "inside P"},
         "policies": {"additive": ["full", "cut", "truncated", "pushforward"], "inside": ["full"]}, "m": [1, 16],
         "dt": 0.5, "T": 8, "units": {"x": "m", "t": "s", "u": "m/s"}, "deviation": 0.5, "start": START}
FRONTS = {**WAVES, "couplings": {"other": "another"}, "policies": {"other": ["full"]}}
STILL = {**WAVES, "m": [1, 1]}
STORIES = {"long": Story("A long chain", "Try it and see.", {"m": "16", "placement": "final"})}


def trainer(name: str = "made-up", worker: str = 'postMessage("<b>")', stories=STORIES, measured=None,
            **start) -> Trainer:
    systems = {"waves": WAVES, "fronts": FRONTS, "still": STILL}
    return Trainer(name, {**START, **start}, systems, worker, stories, measured)
