r"""Updates that use the whole Jacobian of a sum of squares, not only its gradient.

    L(w) = mean over samples of |r(w)|^2,    J = dr/dw (n residuals, p weights),    J = U diag(sigma) V^T

The gradient is J^T r, up to a factor. All updates weigh its parts along the singular vectors of J anew:

    dw = - rate  V diag(f(sigma)) V^T  J^T r  =  - rate  J^T U diag(f(sigma)) U^T r

    gradient descent       f = 1              half-inverse gradients f = sigma^(-3/2)
    Gauss-Newton           f = sigma^(-2)     Levenberg-Marquardt    f = 1 / (sigma^2 + lambda)

They train one network at a time.   Chapter: 14_better_updates.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from . import arguments
from .calls import Explained
from .losses import mse
from .objectives import Objective

LEAST_DAMPING = 1e-10  # to which it is lowered: with less the solve is rounding
SMALLEST = 1e-7  # of the largest singular value: below it a product of J with itself holds rounding


class NoUpdate(RuntimeError):
    """An update cannot be computed: residuals or Jacobian are not finite, or no residual depends on a weight."""


class Residuals(Explained, nn.Module):
    """An objective as what its squares are taken of: the mean over samples of ``|r|^2`` is its loss.
        r_k = (w_k / numbers of a state)^(1/2) (u_k - reference_k),    k = 1 ... m

    Args:
        objective: one whose metric is ``mse``, such as ``Setup(3).objective(step)``.

    Shapes: a batch -> (samples, residuals), the residuals of all steps behind each other.
    Raises: TypeError for another kind of object, ValueError for a loss that is no sum of squares.
    """

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = arguments.instance("Residuals", "objective", objective, Objective,
                                            "an Objective, as setup.objective(step) makes it")
        if objective.loss.metric is not mse:
            raise ValueError(f"Residuals: the metric is {arguments.shown(objective.loss.metric)}, whose loss is no sum "
                             "of squares; give TrajectoryLoss(every_step, mse), or train with fit")

    def forward(self, u0: Tensor, reference: Tensor | None = None, **parameters: Tensor | float) -> Tensor:
        trajectory = self.objective.rollout(u0, **parameters)
        if isinstance(reference, Tensor) and trajectory[:, 0].shape != reference[:, 0].shape:
            raise ValueError(f"Residuals: the trajectory has shape {tuple(trajectory.shape)}, the reference "
                             f"{tuple(reference.shape)}; both are (batch, time, channels, *spatial)")
        apart = trajectory - self.objective.targets(u0, trajectory, reference, parameters)
        weights = self.objective.loss.weights_for(trajectory.shape[1]).to(apart)
        return (apart.flatten(2) * (weights / apart[0, 0].numel()).sqrt()[:, None]).flatten(1)


def each(function: Callable, x: Tensor | dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Values and Jacobians of a function of many samples, none of which depends on another one.

    Args:
        function: (samples, ...) -> (samples, n).
        x: a tensor, or several by name.

    Returns: (samples, n) and (samples, n, p), p numbers of one sample of x, by n backward passes of all samples through
        ``torch.func``, for which a solver has to be recorded before: call the function once.
    """
    values, pull = vjp(function, x)
    samples, n = values.shape
    found = vmap(pull)(torch.eye(n, dtype=values.dtype)[:, None].expand(n, samples, n))[0]
    parts = found.values() if isinstance(found, dict) else [found]
    return values, torch.cat([part.reshape(n, samples, -1) for part in parts], 2).transpose(0, 1)


def jacobian(residuals: nn.Module, **batch) -> tuple[Tensor, Tensor]:
    """The residuals of a batch, and their Jacobian with respect to all weights that are trained.

    Every sample gets a copy of the weights, along the axis that an ensemble has for its members. One backward pass for
    each residual of a sample gives one row of J for each sample.

    Args:
        residuals: a module (batch) -> (samples, residuals), such as ``Residuals(objective)``, with one network whose
            weights have a leading axis of members, as those of ``ConvResNet`` do.

    Returns: (samples, residuals) and (samples * residuals, p) in float64, in the order of ``residuals.parameters()``.
    Raises: ValueError for what gives no residuals, an ensemble, weights without that axis, and a network that stands in
        the chain twice or is frozen in parts; NoUpdate if residuals or Jacobian are not finite.
    """
    if not isinstance(residuals, nn.Module):
        raise arguments.refusal("jacobian", "residuals", residuals, "a module, such as Residuals(objective)")
    if reason := arguments.unlike_copies(residuals):
        raise ValueError(f"jacobian: {reason}")
    weights = {name: w.detach() for name, w in residuals.named_parameters() if w.requires_grad}
    if not weights or any(w.shape[:1] != (1,) for w in weights.values()):
        shapes = ", ".join(str(tuple(w.shape)) for w in list(weights.values())[:3]) or "none that is trained"
        raise ValueError(f"jacobian: the weights have shapes {shapes}; give one network whose weights have a leading "
                         "axis of one member, such as ConvResNet, and train the members of an ensemble one by one")
    expected = values_of(residuals, batch)

    def with_copies(copies: dict[str, Tensor]) -> Tensor:
        return functional_call(residuals, copies, kwargs=batch)

    r, J = each(with_copies, {name: w.repeat(len(expected), *[1] * (w.ndim - 1)) for name, w in weights.items()})
    if r.shape != expected.shape or not (r - expected).norm() <= 1e-2 * expected.norm() + 1e-5:
        raise ValueError("jacobian: with a copy of the weights for each sample the residuals are others; the first "
                         "axis of weights must count members, each with its own group, and noise be off (.eval())")
    if len(r) in {n for x in batch.values() if isinstance(x, Tensor) for n in x.shape[1:]} and arguments.differ(
            with_copies({name: torch.cat([1.01 * w + 0.01, *[w] * (len(r) - 1)]) for name, w in weights.items()})[1:],
            r[1:]):
        raise ValueError("jacobian: a copy of weights changes several samples; their first axis must count members")
    if not torch.isfinite(J).all():
        raise NoUpdate("jacobian: the residuals are finite, their Jacobian is not; the backward pass of a step has "
                       "overflowed: take fewer steps, or a smaller update before this one")
    return r.double(), J.flatten(0, 1).double()


def values_of(residuals: nn.Module, batch: dict) -> Tensor:
    """(samples, residuals), checked."""
    with torch.no_grad():
        r = residuals(**batch)
    if not isinstance(r, Tensor) or r.ndim != 2 or r.numel() == 0:
        raise arguments.refusal("jacobian", "what the residuals return", r, "a module that returns (samples, "
                                "residuals) with at least one of each, not their squares or a loss", ValueError)
    if not torch.isfinite(r).all():
        sample = int((~torch.isfinite(r)).any(1).nonzero()[0])
        raise NoUpdate(f"jacobian: the residuals of sample {sample} are not finite; the roll-out has blown up: take "
                       "smaller updates, more damping or fewer steps")
    return r


def loss_of(r: Tensor) -> float:
    """The mean over samples of |r|^2."""
    return float(r.double().square().sum(1).mean())


class Update:
    """One update of the weights for each call: ``update(**batch)`` returns the loss before it; raises as ``jacobian``.

    Args: residuals: as ``jacobian`` takes them.   rate: factor of the update.
    """

    def __init__(self, residuals: nn.Module, rate: float = 1.0):
        label = type(self).__name__
        self.residuals = arguments.instance(label, "residuals", residuals, nn.Module, "a module that returns (samples, "
                                            "residuals), such as Residuals(objective)")
        self.rate = arguments.positive(label, "rate", rate)

    def __call__(self, **batch) -> float:
        r, J = jacobian(self.residuals, **batch)
        self.take(self.solved(r, J))
        return loss_of(r)

    def solved(self, r: Tensor, J: Tensor) -> Tensor:
        """The direction; NoUpdate where the library finds none."""
        try:
            return self.direction(r.flatten(), J)
        except torch.linalg.LinAlgError as error:
            raise NoUpdate(f"{type(self).__name__}: the linear algebra fails ({error}); give more damping, or smaller "
                           "updates before this one") from error

    def direction(self, r: Tensor, J: Tensor) -> Tensor:
        """(p,): the update before its rate."""
        raise NotImplementedError(f"{type(self).__name__} must implement direction(r, J)")

    def take(self, step: Tensor) -> None:
        """Move the weights."""
        weights = [w for w in self.residuals.parameters() if w.requires_grad]
        with torch.no_grad():
            for w, part in zip(weights, step.split([w.numel() for w in weights])):
                w.add_(self.rate * part.view_as(w))


class Inverse(Update):
    """``f(sigma) = sigma^-(1 + exponent)``, and 0 below ``truncation`` times the largest singular value."""

    exponent = 0.0

    def __init__(self, residuals: nn.Module, rate: float = 1.0, truncation: float = 1e-5):
        super().__init__(residuals, rate)
        self.truncation = arguments.number(type(self).__name__, "truncation", truncation, least=0)
        if self.truncation >= 1:
            raise arguments.refusal(type(self).__name__, "truncation", truncation, "less than 1, such as 1e-5: with 1 "
                                    "no singular value is left", ValueError)

    def direction(self, r: Tensor, J: Tensor) -> Tensor:
        self.check(J)
        wide = J.shape[0] < J.shape[1]
        squares, vectors = torch.linalg.eigh(J @ J.T if wide else J.T @ J)
        sigma = squares.clamp(min=0).sqrt()
        kept = sigma > max(self.truncation, SMALLEST) * sigma[-1]
        f = torch.where(kept, sigma.clamp(min=1e-300) ** -(1 + self.exponent), 0)
        if wide:
            return -J.T @ (vectors @ (f * (vectors.T @ r)))
        return -vectors @ (f * (vectors.T @ (J.T @ r)))

    def check(self, J: Tensor) -> None:
        label, (n, p) = type(self).__name__, J.shape
        if not J.any():
            raise NoUpdate(f"{label}: the Jacobian is zero: no residual depends on any weight; check where the "
                           "gradient is cut, and that no activation is saturated")
        if self.truncation == 0 and n < p:
            raise ValueError(f"{label}: {n} residuals for {p} weights: with truncation=0 there must be at least as "
                             "many; give larger batches, a truncation such as 1e-5, or damping (LevenbergMarquardt)")
        if self.truncation == 0 and int(torch.linalg.matrix_rank(J, rtol=SMALLEST)) < p:
            raise NoUpdate(f"{label}: the Jacobian is singular: some change of the {p} weights changes no residual; "
                           "give a truncation such as 1e-5, or damping (LevenbergMarquardt)")


class GaussNewton(Inverse):
    r"""Gauss-Newton: the weights at which the linearised residuals are smallest.

        dw = - rate J^+ r,    f(sigma) = sigma^(-2)

    J^+ is the pseudo-inverse. With fewer residuals than weights it is the smallest step that brings those of this batch
    to zero.

    Args:
        residuals: a module (batch) -> (samples, residuals), such as ``Residuals(objective)``.
        rate: 1 for the whole step.
        truncation: singular values below so much of the largest one count as zero; with 0 a singular Jacobian, or
            fewer residuals than weights, is refused.

    Behaviour: quadratic convergence where residuals can all vanish and the start is near; far away the linearisation is
        wrong and the step too long.
    Raises: ValueError, NoUpdate: as ``jacobian`` does, and for a singular Jacobian.   Chapter: 14_better_updates.
    """

    exponent = 1.0


class HalfInverse(Inverse):
    r"""Half-inverse gradients: halfway, in the logarithm of sigma, between a step of size one and Gauss-Newton.

        dw = - rate V diag(sigma^(-1/2)) U^T r,    f(sigma) = sigma^(-3/2)

    Args:
        residuals: a module (batch) -> (samples, residuals), such as ``Residuals(objective)``.
        rate: 1 is usual. Unlike that of Gauss-Newton it depends on the units of the residuals.
        truncation: singular values below so much of the largest one count as zero.

    Raises: as ``GaussNewton``.   Chapter: 14_better_updates.   Source: schnell2022hig.
    """

    exponent = 0.5


class LevenbergMarquardt(Update):
    r"""Levenberg-Marquardt: Gauss-Newton with a damping that is learnt on the way.

        dw = - J^T (J J^T + lambda I)^(-1) r,    f(sigma) = 1 / (sigma^2 + lambda)

    It follows the gradient where sigma^2 is below lambda, and Gauss-Newton above. After the step the loss of the same
    batch is compared with what the linearisation said: a quarter of it or less makes the damping three times larger,
    three quarters or more smaller; a step after which the loss is larger is taken back.

    Args:
        residuals: a module (batch) -> (samples, residuals), such as ``Residuals(objective)``.
        damping: lambda at the start, in units of the mean diagonal of the smaller of J J^T and J^T J.
        adapt: the factor of three; 1 keeps the damping.

    Behaviour: an update takes the Jacobian, one solve and one more forward pass.
    Raises: as ``jacobian``.   Chapter: 14_better_updates.   Source: marquardt1963.
    """

    def __init__(self, residuals: nn.Module, damping: float = 1e-2, adapt: float = 3.0):
        super().__init__(residuals)
        self.damping = arguments.positive("LevenbergMarquardt", "damping", damping)
        self.adapt = arguments.number("LevenbergMarquardt", "adapt", adapt, least=1)

    def __call__(self, **batch) -> float:
        r, J = jacobian(self.residuals, **batch)
        before, step = loss_of(r), self.solved(r, J)
        promised = before - loss_of(r + (J @ step).view_as(r))
        self.take(step)
        try:
            gained = (before - loss_of(values_of(self.residuals, batch))) / max(promised, 1e-300)
        except NoUpdate:
            gained = -1.0
        if self.adapt > 1 and not gained > 0:
            self.take(-step)
        factor = self.adapt if not gained > 0.25 else 1 / self.adapt if gained > 0.75 else 1
        self.damping = max(self.damping * factor, min(self.damping, LEAST_DAMPING))
        return before

    def direction(self, r: Tensor, J: Tensor) -> Tensor:
        if not J.any():
            raise NoUpdate("LevenbergMarquardt: the Jacobian is zero: no residual depends on any weight; check where "
                           "the gradient is cut, and that no activation is saturated")
        wide = J.shape[0] < J.shape[1]
        square = J @ J.T if wide else J.T @ J
        damping = self.damping * square.diagonal().mean()
        square.diagonal().add_(damping)
        if wide:
            return -J.T @ torch.linalg.solve(square, r)
        return -torch.linalg.solve(square, J.T @ r)
