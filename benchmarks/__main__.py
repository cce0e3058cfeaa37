"""python -m benchmarks [--quick] [--write]"""

import argparse
import os

from dpbook_course.commands import program

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and memory, side by side.")
    parser.add_argument("--quick", action="store_true", help="two repetitions: checks that all compute the same")
    parser.add_argument("--write", action="store_true", help="write results/benchmarks.json and the table of README.md")
    options = parser.parse_args(arguments)

    from dpbook_utils import settings

    from . import cases, report, web
    from .measure import environment

    if options.write:
        report.prepare()
    settings.reproducible(0)
    if cases.jax_twin is None:
        print("JAX, exponax or optax is not installed: their columns are left out "
              "(pip install -r requirements-bench.txt)")
    results = {"environment": environment(), "solvers": cases.solvers(2 if options.quick else 25)}
    results["updates"] = cases.updates(2, num_steps=2, num_seeds=2) if options.quick else cases.updates(30)
    results["rollouts"] = cases.rollouts(2, num_steps=8, num_samples=4) if options.quick else cases.rollouts(10)
    results["page"] = web.updates(2, num_steps=2) if options.quick else web.updates(30)
    results["equality"] = web.equality(2 if options.quick else 8)
    if not options.quick and os.path.exists("/proc/self/status"):
        results["memory"] = cases.memory()
    table = report.markdown(results)
    print(table)
    if options.write:
        report.write(results, table)
    return results


if __name__ == "__main__":
    program(main)
