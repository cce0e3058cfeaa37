"""The stored records belong to the specifications: no fingerprint changes unless a study is to be computed again.

    python tests/test_fingerprints.py      # writes fingerprints.json anew, after a change that is meant
"""

import json
from pathlib import Path

from dpbook_course.experiments.tasks import experiments

PINNED = Path(__file__).parent / "fingerprints.json"


def fingerprints():
    """``{experiment: {variant: fingerprint}}`` of all that is specified now."""
    return {name: {variant: experiment.spec.fingerprint(variant) for variant in experiment.spec.variants}
            for name, experiment in experiments().items()}


def test_fingerprints_are_those_of_the_stored_records():
    """A class or field that is renamed, or a setting that is changed, orphans records that took hours."""
    pinned, now = json.loads(PINNED.read_text(encoding="utf-8")), fingerprints()
    changed = {name: [variant for variant in {**pinned.get(name, {}), **now.get(name, {})}
                      if pinned.get(name, {}).get(variant) != now.get(name, {}).get(variant)]
               for name in {**pinned, **now}}
    changed = {name: variants for name, variants in changed.items() if variants}
    assert not changed, f"other fingerprints than in {PINNED.name}, so that stored records are refused: {changed}"
    assert list(now) == list(pinned) and sum(map(len, pinned.values())) >= 566


if __name__ == "__main__":
    PINNED.write_text(json.dumps(fingerprints(), indent=1) + "\n", encoding="utf-8")
