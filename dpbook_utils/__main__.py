"""The command: python -m dpbook_utils check_gradient MODULE:STEP"""

import argparse
import contextlib
import importlib
import os
import sys
from pathlib import Path

# torch is imported by the command: help and wrong words need not wait for it.


def main(words: list[str] | None = None) -> int:
    """Returns the exit status: 0: the gradient is right; 1: it is not, or cannot be had; 2: a wrong command."""
    parser = argparse.ArgumentParser(prog="python -m dpbook_utils")
    commands = parser.add_subparsers(dest="command", required=True, metavar="check_gradient")
    check = commands.add_parser("check_gradient", help="compare a step's gradient with finite differences",
                                description="Compare a step's gradient with central finite differences in double "
                                "precision, for the state and for every parameter.")
    check.add_argument("step", metavar="MODULE:STEP", help="a solver, or another operator u -> u_next, in a module "
                       "that can be imported from here")
    check.add_argument("--state", metavar="NAME", help="of a tensor in the module, (batch, channels, *spatial); "
                       "default, for a solver: two samples of smooth random waves of size 1")
    check.add_argument("--set", metavar="NAME=NUMBER", action="append", default=[], help="a parameter of the step")
    check.add_argument("--tolerance", type=float, default=1e-6, help="largest relative error (default: 1e-6)")
    options = parser.parse_args(words)
    try:
        return check_gradient(options)
    except Exception as error:
        check.exit(1, f"{said(error)}\n")


def check_gradient(options: argparse.Namespace) -> int:
    import torch

    import dpbook_utils as dp

    from . import arguments

    tolerance = arguments.positive("check_gradient", "tolerance", options.tolerance)
    name, _, attribute = options.step.partition(":")
    if not all(part.isidentifier() for part in (*name.split("."), attribute)) or name.endswith(".py"):
        raise ValueError(f"check_gradient: the step is {options.step}; give a module as for import, and the name in "
                         "it, such as my_solver:P for P in my_solver.py")
    module = imported(name)
    step = arguments.operator("check_gradient", options.step, named(module, attribute))
    step = step.double() if isinstance(step, torch.nn.Module) else step
    if options.state is not None:
        u = arguments.tensor("check_gradient", options.state, named(module, options.state),
                             "(batch, channels, *spatial)").double()
    elif isinstance(step, dp.Solver) and min(step.state_shape[1:], default=0) > 2:
        channels, *grid = step.state_shape
        waves = dp.random_fourier(2 * channels, tuple(grid), modes=max(1, min(3, (min(grid) - 1) // 2)), seed=0)
        u = waves.double().view(2, channels, *grid)
    else:
        raise ValueError(f"check_gradient: {options.step} is no solver on a grid of at least three points per axis, so "
                         "there are no waves to begin with; give --state NAME")
    parameters = {}
    for key, value in map(parameter, options.set):
        shape = step.parameter_shape(key) if isinstance(step, dp.Solver) else ()
        parameters[key] = torch.full((len(u), *shape), value, dtype=torch.float64)
    errors = dp.gradient_check(step, {"u": u, **parameters})
    for key, error in errors.items():
        print(f"{key}: relative error {error:.2g}" + f", over {tolerance:g}" * (not error < tolerance))
    right = all(error < tolerance for error in errors.values())
    print("The gradient is right." if right else "The gradient is not that of the step.")
    return 0 if right else 1


def imported(name: str):
    """The module.   Raises: ImportError, which says what in it went wrong, whatever that was."""
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        found = " ".join(str(error).split())
        kind = "it ends the program, sys.exit" if isinstance(error, SystemExit) else type(error).__name__
        raise ImportError(f"check_gradient: the module {name} cannot be imported from {Path.cwd()} ({kind}: {found}); "
                          "mend it, or go to the folder that it is in") from error


def named(module, name: str):
    if not hasattr(module, name):
        own = [x for x in vars(module) if x[0] != "_"]
        raise AttributeError(f"check_gradient: {module.__name__} has no {name}; it has {', '.join(own)}")
    return getattr(module, name)


def parameter(given: str) -> tuple[str, float]:
    """``viscosity=0.01`` as name and number."""
    name, _, value = given.partition("=")
    with contextlib.suppress(ValueError):
        if name.isidentifier() and name != "u":
            return name, float(value)
    raise ValueError(f"check_gradient: --set is {given}; give a parameter's name and a number, such as viscosity=0.01"
                     + " (the state is given by --state)" * (name == "u"))


def said(error: Exception) -> str:
    """One line: an error of this package as it is, another one with its kind."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    ours = Path(trace.tb_frame.f_code.co_filename).parent.is_relative_to(Path(__file__).parent)
    text = " ".join(str(error).split())
    return text if ours else f"check_gradient: the step raised {type(error).__name__}: {text}; mend it and call again"


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # a reader who has seen enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)
