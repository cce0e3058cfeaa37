"""The measurements as Markdown, and in the files that keep them."""

import json
from pathlib import Path

from dpbook_utils.files import replacing, writable

ROOT = Path(__file__).parents[1]

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"


def markdown(results: dict) -> str:
    lines = ["Times relative to the first column of each row: median and quartiles of the ratios, taken in turn in one "
             "process on one thread. In brackets the first column's median time.", ""]
    for record in [*results["solvers"], *results["updates"], *results.get("rollouts", []),
                   *results.get("page", [])]:
        names, times = list(record["times"]), record["times"]
        lines += [f"**{record['case']}**: {record['what']}", ""]
        lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        first = times[names[0]]
        cells = [f"1 ({first['ms']:.3g} ms)"]
        cells += ["{ratio:.2f} ({ratio_low:.2f} ... {ratio_high:.2f})".format(**times[name]) for name in names[1:]]
        lines += ["| " + " | ".join(cells) + " |", ""]
    if results.get("equality"):
        rows = results["equality"]
        lines += ["**Gradients in the reader's browser**: largest difference from torch's, as a share of the largest "
                  f"entry, unrolled {rows[0]['num_steps']} steps", "",
                  "| system | coupling | compiled | JavaScript |", "|---|---|---|---|"]
        lines += ["| {system} | {coupling} | {compiled:.1e} | {JavaScript:.1e} |".format(**row) for row in rows]
        lines += [""]
    if "memory" in results:
        m = results["memory"]
        (short, long), (short_mb, long_mb) = m["steps"], m["checkpointed_mb"]
        lines += [f"**Memory**, {m['case']}: {m['plain_mb']:.0f} MB for {short} steps; checkpointed {short_mb:.0f} MB, "
                  f"and {long_mb:.0f} MB for {long} steps ({m['ratio']:.2f} times). "
                  "The gradients are equal bit for bit.", ""]
    lines += [", ".join(f"{name} {value}" for name, value in results["environment"].items()) + "."]
    return "\n".join(lines)


def insert(text: str, table: str, name: str = "benchmarks") -> str:
    """The text with the table between its two marks. Raises ValueError if a mark is missing."""
    begin, end = (mark.replace("benchmarks", name) for mark in (BEGIN, END))
    if begin not in text or end not in text:
        raise ValueError(f"README.md has no place for the table: add the lines {begin} and {end}")
    return text[:text.index(begin)] + f"{begin}\n{table}\n" + text[text.index(end):]


def prepare(name: str = "benchmarks") -> None:
    """Raise, before anything is measured, if ``write`` could not write the measurements."""
    writable(_record(name))
    writable(ROOT / "README.md")
    insert((ROOT / "README.md").read_text(encoding="utf-8"), "", name)


def write(results: dict, table: str, name: str = "benchmarks") -> None:
    """The measurements in ``results``, and their table in README.md."""
    readme = ROOT / "README.md"
    texts = {_record(name): json.dumps(results, indent=1) + "\n",
             readme: insert(readme.read_text(encoding="utf-8"), table, name)}
    for path, text in texts.items():
        with replacing(path) as file:
            file.write(text.encode())


def _record(name: str) -> Path:
    return ROOT / "results" / ("benchmarks.json" if name == "benchmarks" else f"benchmarks_{name}.json")
