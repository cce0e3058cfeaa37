"""Forward and backward pass of a whole unrolled objective, recorded once as one graph.   Chapter: 06_long_horizons.

An unrolled training step calls thousands of small tensor operations, and what Python does around each takes longer than
the operation. Recorded once, one call is left of each that computes something (``graphs.plan``), and where a C compiler
is found hardly any (``graphs.table``).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from . import arguments
from .graphs.graph import TraceError, canonical, record, recording, unchanged_generators
from .graphs.program import Program
from .graphs.simplify import simplify
from .graphs.table import Table
from .graphs.watch import Latest, Watch
from .objectives import Objective, parameters_of
from .physics.trace import agree, layouts

__all__ = ["TraceError", "TracedGradients"]


class TracedGradients:
    """``gradients(batch)``: the members' losses, detached (members,); sets ``.grad`` of every trainable weight.

    Does what ``training.Gradients`` does, from a graph that is recorded at the first batch and checked there: losses
    and gradients equal the eager ones up to rounding. Another batch size, dtype, device or set of parameters, another
    unroll length, mode (``train`` or ``eval``), gradient policy, loss placement or set of trainable weights is recorded
    and checked when it is first met, and so is any other change of what the objective can read (``graphs.watch``); the
    last sixteen graphs are kept. Noise in the chain stays random: its draws are operations of the graph.

    Raises: TraceError, with the reason, if the objective branches on a tensor's value or checkpoints its roll-out, if
        the graph does not reproduce the eager pass, or under autocast; what ``objective`` raises.
    """

    def __init__(self, objective: Objective):
        self.objective = arguments.instance("TracedGradients", "objective", objective, Objective, "an Objective")
        self._recorded: Latest = Latest()
        self._watch = Watch(objective)

    def __call__(self, batch: Mapping[str, Tensor | float]) -> Tensor:
        if torch.is_autocast_enabled(batch["u0"].device.type):
            raise TraceError("TracedGradients: autocast is on, which chooses precisions that a graph would freeze; "
                             "call it outside of autocast, or train with trace=False")
        u0, reference = batch["u0"], batch.get("reference")
        parameters = parameters_of(batch)
        parameters = self.objective.rollout.prepare(u0, parameters)  # reads values, which the graph must not
        tensors = {"u0": u0, **({} if reference is None else {"reference": reference}), **parameters}
        weights = [w for w in self.objective.parameters() if w.requires_grad]
        kinds = tuple((name, x.shape, x.dtype, x.device) for name, x in tensors.items())
        if not self._watch.unchanged():
            self._watch = Watch(self.objective)

        def record_anew() -> _Recorded:
            with unchanged_generators(u0.device), recording(u0.device):
                return _Recorded(self.objective, tensors, weights)

        recorded = self._recorded.current((kinds, self._watch.key), record_anew)
        losses, *gradients = recorded.program(*weights, *tensors.values())
        self.objective.zero_grad(set_to_none=True)
        for w, gradient in zip(recorded.reached, gradients, strict=True):
            w.grad = gradient
        return losses


class _Recorded:
    """The graph ``(*weights, *batch) -> (losses, *gradients of the weights that the loss reaches)``, checked."""

    def __init__(self, objective: Objective, tensors: dict[str, Tensor], weights: list[Tensor]):
        if objective.rollout.checkpoint:
            raise TraceError("TracedGradients: a checkpointed roll-out computes each step again in the backward pass "
                             "to save memory; a graph would keep everything. Use Rollout(..., checkpoint=False), or "
                             "train with trace=False")

        def losses_and_gradients(*inputs):
            losses = objective.per_member(**dict(zip(tensors, inputs[len(weights):])))
            gradients = torch.autograd.grad(losses.sum(), weights, allow_unused=True)
            self.reached = [w for w, gradient in zip(weights, gradients) if gradient is not None]
            return [losses.detach(), *(gradient.contiguous() for gradient in gradients if gradient is not None)]

        inputs = [*weights, *(canonical(x.detach()).detach() for x in tensors.values())]
        before = {name: buffer.clone() for name, buffer in objective.named_buffers()}
        try:
            self.graph = record(losses_and_gradients, inputs)
        except TraceError as error:
            raise TraceError(f"TracedGradients: the objective cannot be recorded: {error}. "
                             "Train with fit(..., trace=False)") from error
        changed = {name: buffer for name, buffer in objective.named_buffers() if not torch.equal(buffer, before[name])}
        for name, buffer in changed.items():
            buffer.copy_(before[name])
        if changed:
            raise TraceError(f"TracedGradients: the objective changes its buffers at every call ({', '.join(changed)}; "
                             "batch normalisation?), which a graph would not repeat. Train with trace=False")
        simplify(self.graph)
        self.program = Program(self.graph.fx, self.graph.constants)
        self._check(losses_and_gradients, inputs)
        table = Table.on(inputs[0].device, exact=False)
        if table is not None:
            compiled = Program(self.graph.fx, self.graph.constants, table=table)
            if self._agree(compiled, inputs):
                self.program = compiled

    @property
    def is_current(self) -> bool:
        return self.graph.is_current

    def _check(self, losses_and_gradients, inputs: list[Tensor]) -> None:
        moved = [layouts(x.detach()) for x in inputs]
        calls = [(losses_and_gradients, inputs), *((self.program, [x[name] for x in moved]) for name in moved[0])]
        results = []
        for function, given in calls:
            with unchanged_generators(inputs[0].device):  # the same noise for all
                results.append(function(*given))
        for expected, found in [pair for other in results[1:] for pair in zip(results[0], other, strict=True)]:
            if not agree(expected, found):
                raise TraceError("TracedGradients: the recorded graph does not give the objective's losses and "
                                 f"gradients (a difference of {float((expected - found).abs().max()):.3g} at scale "
                                 f"{float(expected.abs().max()):.3g}): the objective depends on something else "
                                 "than its arguments, such as a counter or NumPy's random numbers. "
                                 "Train with trace=False")

    def _agree(self, compiled: Program, inputs: list[Tensor]) -> bool:
        """Up to rounding, of which a gradient whose parts cancel may consist: the largest one gives the scale."""
        results = []
        for program in (self.program, compiled):
            with unchanged_generators(inputs[0].device):
                losses, *gradients = program(*inputs)
            results.append((losses, torch.cat([losses.new_zeros(1), *(x.flatten() for x in gradients)])))
        return all(agree(expected, found) for expected, found in zip(*results))
