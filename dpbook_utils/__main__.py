"""The command: python -m dpbook_utils check_gradient MODULE:STEP"""

import argparse
import importlib
import sys

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
    except (ImportError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        check.exit(1, f"{' '.join(str(error).split())}\n")


def check_gradient(options: argparse.Namespace) -> int:
    import torch

    import dpbook_utils as dp

    sys.path.insert(0, "")
    name, colon, attribute = options.step.partition(":")
    if not (name and colon and attribute):
        raise ValueError(f"{options.step}: give the module and the name in it, such as my_solver:P")
    module = importlib.import_module(name)
    if not hasattr(module, attribute):
        raise AttributeError(f"{name} has no {attribute}; it has {', '.join(x for x in vars(module) if x[0] != '_')}")
    step = getattr(module, attribute)
    step = step.double() if isinstance(step, torch.nn.Module) else step
    if options.state is not None:
        u = getattr(module, options.state).double()
    elif isinstance(step, dp.Solver):
        channels, *grid = step.state_shape
        waves = dp.random_fourier(2 * channels, tuple(grid), modes=max(1, min(3, (min(grid) - 1) // 2)), seed=0)
        u = waves.double().view(2, channels, *grid)
    else:
        raise ValueError(f"{options.step} is no solver, so the shape of its state is not known; give --state NAME")
    values = dict(one.split("=", 1) if "=" in one else (one, "") for one in options.set)
    parameters = {key: torch.full((len(u),), float(value), dtype=torch.float64) for key, value in values.items()}
    errors = dp.gradient_check(step, {"u": u, **parameters})
    for key, error in errors.items():
        print(f"{key}: relative error {error:.2g}" + f", over {options.tolerance:g}" * (error >= options.tolerance))
    right = max(errors.values()) < options.tolerance
    print("The gradient is right." if right else "The gradient is not that of the step.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
