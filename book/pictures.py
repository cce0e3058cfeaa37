"""The pictures of the README: two films, and how the front page looks.

    .venv/bin/python book/pictures.py        # writes the films in book/_static and, of a built book, screenshot.png

The first film is what the front page computes in its first minute: the same program trains in Node.js, from the same
first weights. The second one is an initial velocity that E12 has found, run again.
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dpbook_course.experiments import tasks
from dpbook_course.problems import letter
from dpbook_course.studies.e12 import letters
from dpbook_course.web import choices, systems
from dpbook_utils.files import replacing

ROOT = Path(__file__).resolve().parents[1]
FLOW, LETTER, SHOT = (ROOT / "book/_static" / name for name in ("flow.gif", "letter.gif", "screenshot.png"))
UPDATES, EVERY = 2000, 2  # of the network; steps of the flow between two pictures
PAUSE, HOLD = 90, 1500  # between two pictures, and on the last one of the letter [ms]
CHARACTER, SEARCHED, BETTER = "U", "semi-Lagrangian", "MacCormack"
SIDE, MARGIN, TOP, LEVELS = 208, 8, 46, 25  # pixels of a panel and around it; colours, few so that the film is small
PAPER, INK = LEVELS, LEVELS + 1  # places in the palette
VIEW = {"width": 1280, "height": 900}
TRAINED = """wanted => {
    const found = document.querySelector(".trainer .numbers").textContent.match(/([\\d,]+) updates/);
    return found && Number(found[1].replace(",", "")) >= wanted;
}"""

TRAIN = """
onmessage({data: {type: "configure", settings: SETTINGS, run: 1, reset: true}});
session.problem.prepare();
for (let k = 0; k < UPDATES; k++) session.update();
const {ratio, fields} = session.problem.judge(session.model, session.training.view("weights"));
process.stdout.write(JSON.stringify({ratio, fields: mapValues(fields, x => Array.from(x))}));
"""


def trained() -> tuple[float, dict[str, np.ndarray]]:
    """The roll-out's error as a share of the solver's, and the velocities {name: (times, 2, x, y)}."""
    found = choices.in_node(TRAIN, SETTINGS=choices.settings({}, seed=0), UPDATES=UPDATES)
    cells = systems((choices.STORY,))[choices.STORY]["cells"]
    return found["ratio"], {name: np.reshape(field, (-1, 2, cells, cells)) for name, field in found["fields"].items()}


def vorticity(v: np.ndarray) -> np.ndarray:
    """At the corners of the cells of a periodic box of side 1, as the page shows it.

    Shapes: (times, 2, x, y) -> (times, x, y).
    """
    u, w = v[:, 0], v[:, 1]
    return (w - np.roll(w, 1, 1) - u + np.roll(u, 1, 2)) * v.shape[-1]


def energy(v: np.ndarray) -> np.ndarray:
    """(times,): kinetic energy, mean over the box."""
    return np.square(v).sum(1).mean((1, 2)) / 2


def panel(field: np.ndarray, scale: float) -> np.ndarray:
    """Places in the palette, upwards in y.   Shapes: (x, y) -> (SIDE, SIDE)."""
    picture = Image.fromarray(np.float32(np.tile(field.T, (3, 3))))  # periodic, so that the edges are smooth, too
    n = field.shape[0]
    fine = np.asarray(picture.resize((3 * SIDE, 3 * SIDE), Image.Resampling.BICUBIC, box=(0, 0, 3 * n, 3 * n)))
    fine = fine[2 * SIDE - 1:SIDE - 1:-1, SIDE:2 * SIDE]
    return np.clip(np.rint((fine / scale + 1) / 2 * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)


def film(fields: dict[str, np.ndarray], notes: dict[str, list[str]], colours: str = "RdBu_r") -> list[Image.Image]:
    """Pictures with one palette: fields between -1 and 1, side by side, each under its caption and a note.

    Args:
        fields: ``{caption: (times, x, y)}``.
        notes: ``{caption: one for each time}``.
        colours: a map of matplotlib.
    """
    shades = matplotlib.colormaps[colours](np.linspace(0, 1, LEVELS), bytes=True)[:, :3].tolist()
    palette = [value for colour in (*shades, [255, 255, 255], [30, 30, 30]) for value in colour]
    size = (len(fields) * (SIDE + MARGIN) + MARGIN, TOP + SIDE + MARGIN)
    font, pictures = ImageFont.load_default(15), []
    for k in range(len(next(iter(fields.values())))):
        picture = Image.new("P", size, PAPER)
        picture.putpalette(palette)
        pen = ImageDraw.Draw(picture)
        pen.fontmode = "1"  # without shades, which have no place in the palette
        for place, caption in enumerate(fields):
            x = MARGIN + place * (SIDE + MARGIN)
            pen.text((x, 4), caption, fill=INK, font=font)
            pen.text((x, 24), notes[caption][k], fill=INK, font=font)
            picture.paste(Image.fromarray(panel(fields[caption][k], 1.0), "P"), (x, TOP))
        pictures.append(picture)
    return pictures


def write(file: Path, pictures: list[Image.Image], hold: int = PAUSE) -> None:
    first, *others = pictures
    with replacing(file) as opened:
        first.save(opened, "GIF", save_all=True, append_images=others, loop=0, optimize=False,
                   duration=[PAUSE] * len(others) + [hold])
    print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")


def flow() -> list[Image.Image]:
    """The vorticity of the trainer's flow, and how much of the first energy is left."""
    ratio, found = trained()
    dt = systems((choices.STORY,))[choices.STORY]["dt"]
    captions = {"reference": "reference, 64 x 64", "solver": "coarse solver, 32 x 32", "hybrid": "coarse, with network"}
    spins = {name: vorticity(found[name])[::EVERY] for name in captions}
    scale, first = np.abs(spins["reference"][0]).max(), energy(found["reference"])[0]
    notes = {caption: [f"t = {(EVERY * k + 1) * dt:.2f} s, energy {left / first:.0%}"
                       for k, left in enumerate(energy(found[name])[::EVERY])] for name, caption in captions.items()}
    print(f"After {UPDATES} updates {ratio:.0%} of the solver's error")
    return film({caption: spins[name] / scale for name, caption in captions.items()}, notes)


def answer() -> list[Image.Image]:
    """Smoke that becomes a letter: by the scheme of the search, and from the same velocity by the better one."""
    stored = tasks.measured("e12_letters").set_index("variant")
    points = letters.SPEC.variants[letters.name(CHARACTER, SEARCHED, 64)].num_points
    unknowns = torch.tensor(stored.loc[letters.name(CHARACTER, SEARCHED, points), "unknowns"],
                            dtype=torch.float64)[None]
    wanted, fields, notes = letter.letter(CHARACTER, points), {}, {}
    for scheme, caption in ((SEARCHED, "found by"), (BETTER, "run by")):
        with torch.no_grad():
            smoke = letter.smoke(letter.solver(scheme, points), unknowns, letter.blob(wanted))[0, :, 2]
        likeness = letter.overlap(smoke[:, None], wanted.expand(len(smoke), 1, -1, -1))
        name = f"{caption} {scheme}"
        fields[name] = 2 * smoke.numpy() - 1
        notes[name] = [f"t = {k * letter.TIME / letter.NUM_STEPS:.2f} s, overlap {found:.2f}"
                       for k, found in enumerate(likeness.tolist())]
    return film(fields, notes, "bone_r")


def write_screenshot(page: Path) -> None:
    """How the front page looks after some training, in Chromium."""
    from chromium import launch
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launch(playwright)
        opened = browser.new_page(viewport=VIEW)
        opened.goto(page.as_uri())
        opened.locator(".trainer button.main").click()
        opened.wait_for_function(TRAINED, arg=UPDATES, timeout=600_000)
        opened.locator(".trainer button.main").click()
        opened.wait_for_timeout(1000)
        article, trainer = (opened.locator(where).bounding_box() for where in ("article", ".trainer .views"))
        opened.screenshot(path=SHOT, full_page=True, clip={
            "x": article["x"], "y": article["y"], "width": article["width"],
            "height": trainer["y"] + trainer["height"] - article["y"]})
        browser.close()
    print(f"{SHOT}: {SHOT.stat().st_size / 1e3:.0f} kB")


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the README's films, and its screenshot of a built book.")
    parser.add_argument("--html", type=Path, default=ROOT / "_build/html", help="the built book (default: %(default)s)")
    page = parser.parse_args().html.resolve() / "book/intro.html"
    write(FLOW, flow())
    write(LETTER, answer(), HOLD)
    if not page.exists():
        print(f"{page} is missing, so the screenshot stays as it is: run `make book` first")
        return 1
    write_screenshot(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
