"""The commands: list | run ID [--seeds N] [--budget B] [--scheduler ADDRESS] | check ID | claims | weights [ID]"""

import argparse
import difflib
import sys

from ..commands import INTERRUPTED, program

OUTCOMES = "python -m dpbook_course.experiments.outcomes run | show"

# The libraries are imported by each command: Ctrl-C and wrong commands need not wait for them.


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0: all is well; 1: something is not; 2: a wrong command; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m dpbook_course.experiments",
                                     description="What the course measured.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="list | run | check | claims | weights")
    commands.add_parser("list", help="the experiments, and what is stored of them")
    run = commands.add_parser("run", help="compute what is missing of an experiment; interrupt it whenever you like")
    check = commands.add_parser("check", help="repeat a cheap part of an experiment and compare it with what is stored")
    commands.add_parser("claims", help="the verdicts on the claims: readings, corrected p-values, intervals, seeds")
    weights = commands.add_parser("weights", help="train the networks to take home that are not stored yet")
    weights.add_argument("id", nargs="?", metavar="ID", help="only those of this experiment, such as e04")
    weights.add_argument("setup", nargs="?", metavar="SETUP", help="and only of this one of its set-ups")
    for command in (run, check):
        command.add_argument("id", metavar="ID", help="an experiment of the list, such as e04")
    run.add_argument("--seeds", type=int, metavar="N", help="another number of seeds than the study's")
    run.add_argument("--budget", type=int, metavar="B", help="only this number of updates (and baselines and checks)")
    run.add_argument("--scheduler", metavar="ADDRESS", help="of a dask cluster, tcp://host:8786; default: this machine")
    words = sys.argv[1:] if arguments is None else arguments
    if words and not words[0].startswith("-") and words[0] not in commands.choices:
        near = difflib.get_close_matches(words[0], [*commands.choices, "outcomes"], n=1)
        meant = {"outcomes": f"did you mean {OUTCOMES}?"}.get(*near, f"did you mean {near[0]}?") if near else (
            f"there are {', '.join(commands.choices)}, and {OUTCOMES}")
        parser.error(f"no command {words[0]!r}; {meant}")
    options = parser.parse_args(words)
    if options.command == "list":
        return show()
    if options.command == "claims":
        from ..claims import claims

        found, problems = claims.weighed()
        print(claims.report(found))
        return _report(problems, "")
    if options.command == "weights":
        from ..weights import training

        try:
            return _report(training.train(options.id, options.setup), "All weights are stored.")
        except LookupError as error:
            weights.error(str(error))
    from . import runner

    try:
        experiment = runner.find(options.id)
        if options.command == "run":
            experiment.spec.tasks(options.seeds, options.budget)
    except (LookupError, ValueError) as error:
        (run if options.command == "run" else check).error(str(error))
    except runner.StudyError as error:
        return _report([str(error)], "")
    if options.command == "check":
        return _report(runner.check(experiment), f"{experiment.spec.id}: the code gives what is stored.")
    return compute(experiment, options)


def show() -> int:
    """The table of experiments."""
    from . import runner

    known, problems = runner.loaded()
    rows = [("id", "tasks", "seeds", "title")]
    for name, experiment in known.items():
        found = runner.status(experiment.spec)
        rows.append((name, f"{found.done}/{found.total}", str(found.num_seeds), experiment.spec.title))
        problems += found.problems
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return _report(list(map(str, problems)), "")


def compute(experiment, options: argparse.Namespace) -> int:
    from . import runner

    try:
        failures = runner.run(experiment, options.seeds, options.budget, options.scheduler)
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_stored(experiment)} The same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    except ConnectionError as error:
        if options.scheduler is None:
            raise
        print(f"The scheduler at {options.scheduler} cannot be reached ({error}). {_stored(experiment)} Start one with "
              f"`dask scheduler`, and workers with `dask worker {options.scheduler} --nworkers -1 --nthreads 1`, or "
              "leave --scheduler out to use this machine.", file=sys.stderr)
        return 1
    return _report(failures, _stored(experiment))


def _stored(experiment) -> str:
    from . import results, runner

    spec = experiment.spec
    done, total, *_ = runner.status(spec)
    return f"{spec.id}: {done} of the study's {total} tasks are stored in {results.folder() / spec.id}."


def _report(problems: list[str], fine: str) -> int:
    for problem in problems:
        print(f"\n{problem}", file=sys.stderr)
    if problems:
        print(f"\n{len(problems)} problem{'s' if len(problems) > 1 else ''}.", file=sys.stderr)
    elif fine:
        print(fine)
    return 1 if problems else 0


if __name__ == "__main__":
    program(main)
