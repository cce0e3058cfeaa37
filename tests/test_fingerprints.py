"""The stored records belong to the specifications: no fingerprint changes unless a study is to be computed again.

    .venv/bin/python tests/test_fingerprints.py      # pins what is new; refuses what would orphan stored records
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpbook_course.commands import program
from dpbook_course.experiments import results
from dpbook_course.experiments.spec import Specification
from dpbook_course.experiments.tasks import loaded

PINNED = Path(__file__).parent / "fingerprints.json"
COMMAND = ".venv/bin/python tests/test_fingerprints.py"


def fingerprints(specs):
    """``{experiment: {variant: fingerprint}}``."""
    return {spec.id: {variant: spec.fingerprint(variant) for variant in spec.variants} for spec in specs}


def differences(pinned, now):
    """``{experiment: {"new" | "changed" | "gone": variants}}``, without those in which all is as it was."""
    found = {}
    for name in {**pinned, **now}:
        old, new = pinned.get(name, {}), now.get(name, {})
        words = {variant: "new" if variant not in old else "gone" if variant not in new else "changed"
                 for variant in {**old, **new} if old.get(variant) != new.get(variant)}
        if words:
            found[name] = {word: [variant for variant in words if words[variant] == word] for word in words.values()}
    return found


def test_fingerprints_are_those_of_the_stored_records():
    """A class or field that is renamed, or a setting that is changed, orphans records that took hours."""
    known, problems = loaded()
    assert not problems, "\n".join(map(str, problems))
    pinned, now = json.loads(PINNED.read_text(encoding="utf-8")), fingerprints(one.spec for one in known.values())
    changed = ". ".join(f"{name}, {word}: {'; '.join(variants)}" for name, kinds in differences(pinned, now).items()
                        for word, variants in kinds.items())
    assert not changed, (f"other specifications than those in {PINNED.name}: {changed}. Stored records of a variant "
                         f"that is changed or gone are refused, so put it back; if it is meant, pin it: {COMMAND}")
    assert list(now) == list(pinned) and sum(map(len, pinned.values())) >= 566


def pin(specs, problems=(), path=PINNED, root=None):
    """Write the fingerprints of all specifications if that orphans no stored record; say what is new, changed and gone.

    Returns: the exit status.
    """
    specs = list(specs)
    pinned, now = json.loads(path.read_text(encoding="utf-8")), fingerprints(specs)
    found, refused = differences(pinned, now), list(map(str, problems))
    for name, kinds in found.items():
        for word, variants in kinds.items():
            print(f"{name}, {word}: {'; '.join(variants)}")
        stored = results.study_folder(name, root)
        spec = next((spec for spec in specs if spec.id == name), None)
        orphans = results.load(spec, root)[1] if spec else list(stored.glob("*.json"))
        if orphans:
            reason = results.refused(orphans) if spec else f"{len(orphans)} files of a study that is gone"
            refused.append(f"Stored records of {name} would not belong to what is pinned: {reason}\n"
                           f"Put the specification back, or move them all away and pin: {results.aside(stored)}")
    for reason in refused:
        print(f"\n{reason}", file=sys.stderr)
    if refused:
        print("\nNothing was pinned.", file=sys.stderr)
        return 1
    if found:
        path.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    print(f"{path.name} is written." if found else f"All specifications are those in {path.name}.")
    return 0


SPEC = Specification(id="e99", title="", chapter="", variants={"a": 1, "b": 2}, budgets={"a": (1,), "b": (1,)},
                     seeds=(0,), metrics={"error": ""}, settings={})


@pytest.fixture
def pinned(tmp_path):
    """A file with the fingerprints of SPEC, of which one record is stored."""
    made = {"code": "1", "versions": {}, "device": "", "seconds": 1.0, "finished": ""}
    results.save(results.Record("e99", "a", 1, (0,), SPEC.fingerprint("a"), {"error": np.ones(1)}, made), tmp_path)
    path = tmp_path / "fingerprints.json"
    path.write_text(json.dumps(fingerprints([SPEC])))
    return path


def test_what_is_new_is_pinned_and_printed(pinned, capsys):
    def pinning(*specs):
        return pin(specs, path=pinned, root=pinned.parent), capsys.readouterr().out

    assert pinning(SPEC) == (0, "All specifications are those in fingerprints.json.\n")
    more = replace(SPEC, variants={"a": 1, "b": 3, "c": 4}, budgets=dict.fromkeys("abc", (1,)))
    tuning = replace(SPEC, id="e99_tuning")
    assert pinning(more, tuning) == (0, "e99, changed: b\ne99, new: c\ne99_tuning, new: a; b\n"
                                        "fingerprints.json is written.\n"), "of b nothing is stored"
    assert json.loads(pinned.read_text()) == fingerprints([more, tuning])
    assert pinning(more) == (0, "e99_tuning, gone: a; b\nfingerprints.json is written.\n")


@pytest.mark.parametrize("specs", [
    [replace(SPEC, settings={"dt": 1})], [replace(SPEC, variants={"b": 2}, budgets={"b": (1,)})], []],
    ids=("changed", "a variant is gone", "all is gone"))
def test_what_would_orphan_records_is_refused(specs, pinned, capsys):
    before = pinned.read_text()
    assert pin(specs, path=pinned, root=pinned.parent) == 1 and pinned.read_text() == before
    said = capsys.readouterr()
    assert "e99, changed: a; b" in said.out or "e99, gone: a" in said.out
    assert "Stored records of e99 would not belong to what is pinned: " in said.err and "mv -n" in said.err
    assert "Nothing was pinned." in said.err and (not specs or "a-1-0.json" in said.err)
    (pinned.parent / "e99").rename(pinned.parent / "e99.old")
    assert pin(specs, path=pinned, root=pinned.parent) == 0 and json.loads(pinned.read_text()) == fingerprints(specs)


def test_nothing_is_pinned_while_a_study_cannot_be_used(pinned, capsys):
    before = pinned.read_text()
    assert pin([SPEC, replace(SPEC, id="e99_b")], ["the study e98 cannot be used: x"], pinned, pinned.parent) == 1
    assert pinned.read_text() == before and "e98 cannot be used" in capsys.readouterr().err


if __name__ == "__main__":
    studies, broken = loaded()
    program(lambda: pin([study.spec for study in studies.values()], broken))
