"""A roll-out without a gradient, as one recorded step that is repeated.   Chapter: 06_long_horizons.

Long roll-outs judge a training. Eagerly each of their steps does the work of Python anew, which takes several times as
long as that of the numbers.
"""

import torch
from torch import Tensor

from .graphs.graph import TraceError, canonical, record, recording, unchanged_generators
from .graphs.program import Program
from .graphs.simplify import simplify
from .graphs.table import Table
from .physics.trace import agree
from .rollout import Rollout

CHECKED = 2  # steps taken both ways, bit for bit: a step that counts its calls is another one at the second


@torch.no_grad()
def replay(rollout: Rollout, u: Tensor, **parameters: Tensor | float) -> Tensor:
    """What ``rollout(u, **parameters)`` gives, without a gradient and up to rounding, its step recorded once.

    Shapes: (batch, channels, *spatial) -> (batch, num_steps, channels, *spatial).
    Raises: TraceError if the step branches on data, draws random numbers or keeps a state from call to call; what the
        roll-out raises for its arguments.
    """
    parameters = rollout.prepare(u, parameters)
    u = canonical(u)

    def step(u: Tensor) -> list[Tensor]:
        with torch.no_grad():
            u_next, recorded = rollout.advance(u, parameters)
        return [u_next] if recorded is u_next else [u_next, recorded]

    with unchanged_generators(u.device):
        run = _recorded(step, u)
    states = []
    for _ in range(rollout.num_steps):
        u, *recorded = run(u)
        states.append(recorded[0] if recorded else u)
    return torch.stack(states, 1)


def _recorded(step, u: Tensor) -> Program:
    expected = step(u)  # what is wrong with the step itself shows here
    try:
        with recording(u.device):
            graph = record(step, [u])
    except Exception as error:
        raise TraceError(f"predict: the step cannot be recorded: {error}. Use predict(..., trace=False)") from error
    same = graph.is_current
    simplify(graph)
    exact, close = (Program(graph.fx, graph.constants, table=Table.on(u.device, exact)) for exact in (True, False))
    for k in range(CHECKED):
        expected = step(u) if k else expected
        for a, b, c in zip(expected, exact(u), close(u), strict=True):
            same = same and _identical(a, b) and agree(b, c)
        u = canonical(expected[0])
    if not same:
        raise TraceError("predict: a recorded step does not give what the step gives: it draws random numbers, counts "
                         "its calls, or writes to a tensor that it holds. Use predict(..., trace=False)")
    return close


def _identical(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
