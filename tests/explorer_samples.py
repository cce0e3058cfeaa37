"""Made-up explorers, small and quick, for the tests: the numbers say what they belong to. And pages for all figures."""

import importlib.util
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dpbook_course.experiments import rollouts
from dpbook_course.explorer import views
from dpbook_course.explorer.static import Control, Explorer, Region, Run

REGIONS = {"inside": Region("inside the range", 8.0, "nu 0.2"), "above": Region("above the range", 9.0, "nu 0.7")}
CONTROLS = (Control("m", "Unroll length", {"1": "1 step", "8": "8 steps"}, slider=True),
            Control("policy", "Gradient", {"full": "full gradient", "cut": "cut gradient", "push": "push-forward"}))
KEYS = (("1", "full"), ("8", "full"), ("8", "cut"))
STEPS, EVERY, WIDTH, HORIZONS = 8, 2, 6, (1, 2, 4)

# What JupyterLab does with an output: its HTML first, then its scripts anew, because inserted text runs none.
INSERT = """html => {
    const output = document.body.appendChild(document.createElement('div'));
    output.innerHTML = html;
    for (const old of output.querySelectorAll('script')) {
        const script = document.createElement('script');
        for (const { name, value } of old.attributes) script.setAttribute(name, value);
        script.textContent = old.textContent;
        old.replaceWith(script);
    }
}"""


def run(level: float, num_seeds: int = 2, **changes) -> Run:
    """Errors ``level (1 + seed) k / 8`` at step k, twice as large above; a ramp of levels as the field."""
    seeds = 1 + np.arange(num_seeds)[:, None]
    error = level * seeds * np.arange(1, STEPS + 1) / STEPS
    rows = np.arange(STEPS // EVERY + 1)[:, None] * 10 + np.arange(WIDTH) + round(100 * level)
    field = np.stack([rows + 3 * seed for seed in range(num_seeds)])
    made = {"error": {"inside": error, "above": 2 * error}, "field": {"inside": field, "above": field + 50},
            "gradient": level * seeds * np.array([1.0, 10.0, np.inf]), "diverged": [-1] * num_seeds,
            "note": f"level {level:g}"}
    return Run(**{**made, **changes})


def nearest(key):
    if key == ("1", "cut"):
        return ("1", "full"), "With one step both are one training.", True
    return None


def explorer(name: str = "made-up", **changes) -> Explorer:
    given = dict(
        title="Explore: made-up numbers", controls=CONTROLS, nearest=nearest, regions=REGIONS, seeds=(0, 1),
        runs={key: run(level) for key, level in zip(KEYS, (0.1, 0.2, 0.3))},
        reference=run(1e-12, 1), solver=run(0.5, 1), persistence=run(0.9, 1), steps=STEPS, every=EVERY, dt=0.5,
        horizons=HORIZONS, scale=2.0, words={"x": "x [m]", "time": " s", "u": "u [m/s]", "region": "Test region"},
        source={"Repeat": "python -m made up"})
    return Explorer(name, **{**given, **changes})


def full_size() -> Explorer:
    """As large as the largest one of the book, of random numbers."""
    generator, view = np.random.default_rng(0), views.VIEWS["unrolling"]

    def full(num_seeds):
        return run(0.1, num_seeds, error={r: generator.random((num_seeds, 100)) for r in views.REGIONS},
                   field={r: generator.integers(0, 255, (num_seeds, 51, 48)) for r in views.REGIONS},
                   gradient=generator.random((num_seeds, 6)))

    return explorer(controls=view.controls, nearest=view.nearest, runs={key: full(3) for key in view.variants},
                    reference=full(1), solver=full(1), persistence=full(1), seeds=(0, 1, 2), steps=100,
                    regions=dict.fromkeys(views.REGIONS, Region("r", 1.0, "s")), horizons=rollouts.HORIZONS)


def extension(name: str):
    """A Sphinx extension of the book as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"book/_ext/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(*shown, head: str = "", body: str = "", protected: bool = True) -> str:
    """A page of figures as the book has it: what is shared once, and the policy of a built page."""
    outputs = extension("shared_text").once("\n".join(one._repr_html_() for one in shown))
    text = ('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Figures</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="color-scheme" content="light dark">{head}</head><body>{body}{outputs}</body></html>')
    return extension("finished_pages").protected(text) if protected else text


@contextmanager
def visits(browser, path: Path, ready: str, **usual):
    """``visit(made, address, **options)``: its page, once ``ready`` is there, which asks for nothing and complains of
    nothing."""
    pages, complaints = [], []

    def visit(made, address: str = "", **options):
        path.write_text(page(made), encoding="utf-8")
        opened = browser.new_page(**{**usual, **options})
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("request", lambda request: complaints.append(request.url) if path.name not in request.url else None)
        opened.goto(path.as_uri() + address)
        opened.wait_for_selector(ready)
        pages.append(opened)
        return opened

    yield visit
    assert complaints == []
    for opened in pages:
        opened.close()
