"""The chain of a trainer's first choices as a still picture, for paper and for pages without scripts."""

from collections.abc import Mapping
from html import escape

STEP, LEFT, WIDE = 118, 26, 4  # width of a step, where the first begins, steps drawn at most
FORWARD, LOSS, BACK = 62, 20, 94  # heights of the chain, of the losses, and of the gradient's way back


OPERATORS = {"additive": ("P", "N"), "multiplicative": ("P", "N"), "supervised": ("N",), "physics": ("N", "P")}
ANSWERS = {"supervised": "The network N answers; the loss compares its answer with one of the right ones.",
           "physics": "The network N answers, the solver P computes what that would measure, and the loss compares it "
                      "with what was measured."}


def described(settings: Mapping[str, str]) -> str:
    """The chain in words: its length, where the loss stands, and where the gradient is cut."""
    if settings["coupling"] in ANSWERS:
        return ANSWERS[settings["coupling"]]
    m, policy = int(settings["m"]), settings["policy"]
    steps = "one step" if m == 1 else f"{m} steps"
    loss = "the loss at every step" if settings["placement"] == "every" and m > 1 else "the loss at its end"
    cut = {"full": "the gradient flows back to the first call of N", "cut": "the gradient is cut at every solver",
           "truncated": f"the gradient is cut after every {settings['truncation']} steps",
           "pushforward": "only the last step gets a gradient"}[policy] if m > 1 else "the gradient flows back to N"
    return f"A chain of {steps} of the solver P with the network N, {loss}; {cut}."


def chain(settings: Mapping[str, str]) -> str:
    """An SVG in the colours of the page."""
    m = int(settings["m"])
    shown = list(range(1, m + 1)) if m <= WIDE else [1, 2, m - 1, m]
    parts, x = [_dot(LEFT, "0")], LEFT
    for before, step in zip([0, *shown], shown):
        if step > before + 1:
            parts.append(_text(x + 22, FORWARD + 5, "···"))
            if settings["policy"] in ("full", "truncated"):
                parts.append(_back(x + 44, x))
            x += 44
        parts += _step(x, step, settings)
        x += STEP
    width, text = x + 24, escape(described(settings))
    return (f'<svg role="img" aria-label="{text}" viewBox="0 0 {width} 112" width="{width}" font-size="13" '
            f'font-family="sans-serif" text-anchor="middle">{"".join(parts)}</svg>')


def _step(x: float, step: int, settings: Mapping[str, str]) -> list[str]:
    end, m, policy = x + STEP, int(settings["m"]), settings["policy"]
    parts = [_line(f"M{x},{FORWARD}H{end}"), _dot(end, str(step))]
    operators = enumerate(OPERATORS.get(settings["coupling"], ()))  # none: the network is inside the solver's call
    parts += [_box(x + 20 + 44 * k, 28, name) for k, name in operators] or [_box(x + 32, 56, "P(u; N)")]
    if step == m or settings["placement"] == "every":
        parts += [_line(f"M{end},{FORWARD - 4}V{LOSS + 12}"), _text(end, LOSS + 5, "L"),
                  f'<circle cx="{end}" cy="{LOSS}" r="12" fill="none" stroke="currentColor"/>']
    if policy == "pushforward" and step < m:
        return parts
    cut = policy in ("cut", "pushforward") or (
        policy == "truncated" and (step - 1) % int(settings["truncation"]) == 0)
    if not cut or step == 1:  # before the first call of N nothing is trained
        return [*parts, _back(end, _network(x, settings) if step == 1 else x)]
    at = x + (34 if policy == "cut" else 10)
    return [*parts, _back(end, at + 8), _line(f"M{at - 5},{BACK - 5}l10,10m0,-10l-10,10", width=2)]


def _network(x: float, settings: Mapping[str, str]) -> float:
    """Where N begins in a step that begins at x."""
    operators = OPERATORS.get(settings["coupling"])
    return x + 20 + 44 * operators.index("N") if operators else x + 32


def _line(d: str, width: float = 1.2) -> str:
    return f'<path d="{d}" fill="none" stroke="currentColor" stroke-width="{width}"/>'


def _back(start: float, end: float) -> str:
    """The gradient's way, from right to left."""
    return (f'<path d="M{start},{BACK}H{end}m6,-4l-6,4l6,4" fill="none" stroke="#D55E00" stroke-width="1.8" '
            'stroke-dasharray="6 3"/>')


def _box(x: float, width: float, text: str) -> str:
    colour = "#0072B2" if "N" in text else "currentColor"
    return (f'<rect x="{x}" y="{FORWARD - 15}" width="{width}" height="30" rx="4" stroke="{colour}" stroke-width="1.6" '
            f'fill="Canvas"/>{_text(x + width / 2, FORWARD + 5, text)}')


def _dot(x: float, index: str) -> str:
    return f'<circle cx="{x}" cy="{FORWARD}" r="3.5" fill="currentColor"/>' + _text(x, FORWARD + 20, f"u{index}")


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" fill="currentColor">{text}</text>'
