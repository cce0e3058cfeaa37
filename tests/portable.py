"""The tests that concern numbers, under the settings that stand for other processors: ``make portable``.

    python -m tests.portable [PROFILE ...] [--part PART]

What fails under any of them is a test of luck: it would fail on somebody's machine.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.rounding import PROFILES, variables
from dpbook_course.commands import program

ROOT = Path(__file__).parents[1]
# These look at text, pages and processes, not at numbers that are calculated.
ELSEWHERE = {"benchmarks", "benchmarks_wake", "book", "browser", "checks", "claims", "experiments", "explorer_browser",
             "explorer_static", "fresh", "notation", "notebooks", "packaging", "pages", "player", "player_browser",
             "portable", "repository", "results", "runner", "spec", "effects", "stored", "studies", "trainer",
             "trainer_browser", "verdicts_e01", "verdicts_e05", "verdicts_e08", "web_worker"}
NUMBERS = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").glob("test_*.py"))
           if path.stem.removeprefix("test_") not in ELSEWHERE]

PARTS = {
    "checks": ["tests/test_checks.py", "-m", "long or not long", "--dist", "worksteal"],
    "identities": [*NUMBERS, "--dist", "loadfile"],
    "chapters": ["notebooks", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600", "--dist", "loadscope"],
}


def run(profile: str, arguments: list[str], examples: str = "100") -> bool:
    """pytest with these arguments on all cores. Returns whether all passed."""
    environment = {**variables(PROFILES[profile]), "DPBOOK_MODE": "short", "DPBOOK_EXAMPLES": examples}
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-n", "logical",
               "--maxprocesses", "4", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 if everything passed under every profile."""
    parser = argparse.ArgumentParser(prog="python -m tests.portable", description="The tests on other processors.")
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", default=list(PROFILES),
                        help=f"of {', '.join(PROFILES)}; all if none is given")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; may be given again")
    options = parser.parse_args(arguments)
    for name in options.profiles:
        if name not in PROFILES:
            parser.error(f"there is no profile {name!r}; choose from {', '.join(PROFILES)}")
    lines, passed = [], True
    for profile in options.profiles:
        for part in options.part or PARTS:
            print(f"\n{profile}, {part}", flush=True)
            start = time.monotonic()
            well = run(profile, PARTS[part])
            passed &= well
            lines.append(f"{profile:5} {part:11} {'passed' if well else 'FAILED'} {time.monotonic() - start:6.0f} s")
    print("\n" + "\n".join(lines))
    return 0 if passed else 1


if __name__ == "__main__":
    program(main)
