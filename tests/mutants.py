"""Small changes of a module that its own tests should notice: ``make mutants MODULE=losses``.

    python -m tests.mutants [MODULE ...] [--number N]

Cosmic Ray finds and makes the changes (another operator, comparison, constant or condition) on a copy of the
repository. A mutant is killed if a test fails. Each runs in a process forked after the libraries are imported, which
takes most of the time. The sample draws places, then one change of each: an operator has eleven, a constant two.
"""

import argparse
import datetime
import importlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]
STORED = ROOT / "results/mutants.json"
CORE = ["losses", "objectives", "gradients", "coupling", "rollout", "noise", "arguments", "evaluation",
        "claims/effects", "graphs/watch", "data/trajectories"]
TESTS = {"data/trajectories": "tests/test_data.py"}  # where the names differ
LIBRARIES = ("torch", "scipy.stats", "pandas", "phi.torch.flow", "pytest", "yaml")
# What no test can notice, with the reason: the changed line as it reads then, by module.
EQUIVALENT = json.loads((ROOT / "tests/equivalent_mutants.json").read_text(encoding="utf-8"))
SEED = 0
PACKAGES = ("dpbook_utils", "dpbook_course")


def source(module: str) -> Path | None:
    """The file of ``losses`` or ``claims/effects``, in whichever package."""
    return next((path for package in PACKAGES if (path := ROOT / package / f"{module}.py").is_file()), None)


def passes(copy: Path, tests: str, limit: float) -> tuple[bool, float]:
    """Whether these tests pass within so many seconds of processor time, and how many they took."""
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 2))
            os.chdir(copy)
            sys.path[:] = [str(copy), *(path for path in sys.path if path and Path(path) != ROOT)]
            sys.dont_write_bytecode = True
            told = os.open(copy.parent / "told", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(told, 1)
            os.dup2(told, 2)
            status = int(sys.modules["pytest"].main(["-x", "-q", "-p", "no:cacheprovider", tests]))
        except BaseException:
            traceback.print_exc()
            status = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status, used = os.wait4(child, 0)
    return status == 0, used.ru_utime + used.ru_stime


def sample(path: Path, number: int) -> tuple[int, list]:
    """How many places of this file can be changed, and ``number`` of them with one change each."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db

    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/session.sqlite", WorkDB.Mode.create) as database:
        init([path], database, {})
        # `|` joins types in annotations here: another operator there is an error at import, which says nothing.
        changes = [item.mutations[0] for item in database.work_items if "BitOr" not in item.mutations[0].operator_name]
    places: dict = {}
    for change in sorted(changes, key=lambda change: (change.start_pos, change.operator_name, change.occurrence)):
        places.setdefault(change.start_pos, []).append(change)
    draw = random.Random(SEED)
    chosen = draw.sample(sorted(places), min(number, len(places)))
    return len(places), [draw.choice(places[place]) for place in sorted(chosen)]


def mutate(module: str, number: int, copy: Path) -> dict:
    """The score of one module: what is stored, with the changed lines of every survivor."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    path, tests = copy / source(module).relative_to(ROOT), TESTS.get(module, f"tests/test_{module.split('/')[-1]}.py")
    passed, seconds = passes(copy, tests, 3600)
    if not passed:
        raise SystemExit(f"{(copy.parent / 'told').read_text()}\n{tests} does not pass as it is: mend it first.")
    places, mutants = sample(path, number)
    survivors, reasons = [], EQUIVALENT.get(module, {})
    for mutant in mutants:
        with use_mutation(path, get_operator(mutant.operator_name)(), mutant.occurrence) as (before, after):
            if passes(copy, tests, 5 * seconds + 10)[0]:
                old, new = before.splitlines(), after.splitlines()
                line = next((k for k, (a, b) in enumerate(zip(old, new)) if a != b), len(new) - 1)
                survivors.append({"line": line + 1, "was": old[line].strip(), "is": new[line].strip(),
                                  "equivalent": reasons.get(new[line].strip())})
                print(f"{module}, line {line + 1}\n- {old[line]}\n+ {new[line]}", flush=True)
    equivalent = sum(survivor["equivalent"] is not None for survivor in survivors)
    killed = len(mutants) - len(survivors)
    print(f"{module}: {killed} of {len(mutants)} killed, {equivalent} equivalent, {places} places", flush=True)
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True).stdout
    return {"places": places, "mutants": len(mutants), "killed": killed, "equivalent": equivalent,
            "survivors": survivors, "date": datetime.date.today().isoformat(), "commit": commit.strip() or "unknown"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Changes that tests should notice.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", default=CORE,
                        help="such as graphs/watch; else the core")
    parser.add_argument("--number", type=int, default=20, help="how many places of a module are changed (20)")
    options = parser.parse_args(arguments)
    for module in options.modules:
        if source(module) is None:
            parser.error(f"there is no module {module}.py in {' or '.join(PACKAGES)}; give a path such as graphs/watch")
    sys.path.append(str(ROOT / ".mutants"))  # behind the libraries that are tested with
    # No plug-in of pytest is needed, and each takes time.
    os.environ.update(OMP_NUM_THREADS="1", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    for library in LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".*", "_build", "notebooks"))
        for module in options.modules:
            score = mutate(module, options.number, copy)
            stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
            text = json.dumps(dict(sorted({**stored, module: score}.items())), indent=1)
            STORED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
