"""What the playground shows of a run: pictures with a text alternative, as HTML."""

import base64
import html
import io

import torch

from dpbook_utils import figures

from .problems import baselines
from .runs import Run, comparable, summary


def report(run: Run, previous: Run | None = None) -> str:
    """The error growth, the space-time plots and the chain of a run, beside the one before.

    With the same PDE both runs share the plots; otherwise the one before follows below.
    """
    together = previous if comparable(run, previous) else None
    parts = _plots(run, together)
    if previous is not None and together is None:
        parts += [paragraph(f"Previous run, {previous.choices.pde}: {summary(previous)}"), *_plots(previous, None)]
    return "".join([*parts, _picture(chains(run, previous), _describe_chains(run, previous))])


def paragraph(text: str, role: str = "") -> str:
    """The text as HTML; ``role="status"`` has a screen reader read it out when it changes."""
    attribute = f' role="{role}"' if role else ""
    return f'<p{attribute} style="max-width:60em;line-height:1.4;margin:0.4em 0">{html.escape(text)}</p>'


def chains(run: Run, previous: Run | None = None):
    """Figure: what was trained, and where the gradient has flowed."""
    rows = {"this run": run, **({} if previous is None else {"previous run": previous})}
    return figures.chains({name: row.choices.objective(row.choices.step()) for name, row in rows.items()})


def error_growth(run: Run, previous: Run | None = None):
    """Figure: the error against the step, with P alone and persistence."""
    known = baselines(run.choices.pde)
    series = {**{name: known[name][0] for name in ("persistence", "P alone")}, "this run": run.errors,
              **({} if previous is None else {"previous run": previous.errors})}
    steps = torch.arange(1, len(run.errors) + 1)
    return figures.curves({name: (steps, errors) for name, errors in series.items()}, xlabel="step",
                          ylabel="relative error", ylog=True)


def space_time(run: Run, previous: Run | None = None):
    """Figure: the reference, P alone, this run and the one before, from one initial state that no training saw."""
    problem, known = run.choices.problem, baselines(run.choices.pde)
    reference = known["reference"][1]
    fields = {"reference": reference, "P alone": known["P alone"][1], "this run": run.rollout,
              **({} if previous is None else {"previous run": previous.rollout})}
    xlabel, ylabel, label = problem.labels
    duration = problem.problem.dt * (len(reference) - 1)
    return figures.space_time(fields, length=problem.length, duration=duration, xlabel=xlabel, ylabel=ylabel,
                              label=label, limit=1.2 * float(reference.abs().max()))


def _plots(run: Run, previous: Run | None) -> list[str]:
    return [_picture(error_growth(run, previous), _describe_errors(run, previous)),
            _picture(space_time(run, previous), _describe_space_time(run, previous))]


def _describe_chains(run: Run, previous: Run | None) -> str:
    text = f"Diagram of the chain, with the path of the gradient. This run: {run.choices.code}."
    return text if previous is None else f"{text} Previous run: {previous.choices.code}."


def _describe_errors(run: Run, previous: Run | None) -> str:
    lines = {"this run": run.errors, **({} if previous is None else {"the previous run": previous.errors}),
             "P alone": baselines(run.choices.pde)["P alone"][0]}
    ends = ", ".join(f"{name} from {errors[0]:.2g} to {errors[-1]:.2g}" for name, errors in lines.items())
    return f"Error against step, on a logarithmic axis: {ends}."


def _describe_space_time(run: Run, previous: Run | None) -> str:
    names = ["reference", "P alone", "this run", *([] if previous is None else ["previous run"])]
    return f"Space-time plots side by side, {run.choices.pde}: {', '.join(names)}. What has blown up is left white."


def _picture(figure, text: str) -> str:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    data = base64.b64encode(png.getvalue()).decode()
    return (f'<img src="data:image/png;base64,{data}" alt="{html.escape(text, quote=True)}" '
            'style="display:block;max-width:100%">')
