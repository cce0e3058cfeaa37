"""The measurements as Markdown."""

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"


def markdown(results: dict) -> str:
    lines = ["Times relative to the first column of each row (median and quartiles of the ratios, taken in turn in one process, "
             "one thread); its median time in ms.", ""]
    for record in [*results["solvers"], *results["updates"]]:
        names, times = list(record["times"]), record["times"]
        lines += [f"**{record['case']}**: {record['what']}", "", "| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        first = times[names[0]]
        cells = [f"1 ({first['ms']:.3g} ms)"]
        cells += [f"{times[n]['ratio']:.2f} ({times[n]['ratio_low']:.2f} ... {times[n]['ratio_high']:.2f})" for n in names[1:]]
        lines += ["| " + " | ".join(cells) + " |", ""]
    if "memory" in results:
        m = results["memory"]
        lines += [f"**Memory**, {m['case']}: {m['plain_mb']:.0f} MB for {m['steps'][0]} steps; checkpointed {m['checkpointed_mb'][0]:.0f} MB, "
                  f"and {m['checkpointed_mb'][1]:.0f} MB for {m['steps'][1]} steps ({m['ratio']:.2f} times); the gradients are equal bit for bit.",
                  ""]
    lines += [", ".join(f"{name} {value}" for name, value in results["environment"].items()) + "."]
    return "\n".join(lines)


def insert(text: str, table: str) -> str:
    """The text with the table between its two marks. Raises ValueError if a mark is missing."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"README.md has no place for the table: add the lines {BEGIN} and {END}")
    return text[:text.index(BEGIN)] + f"{BEGIN}\n{table}\n" + text[text.index(END):]
