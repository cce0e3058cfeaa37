"""Steps that several studies share: without a network, around one, and the rows of a table that stand for them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from dpbook_utils.physics.solver import parameter_names, select


class Persistence(nn.Module):
    """The state stays as it is."""

    def forward(self, u: Tensor) -> Tensor:
        return u


class Bounded(nn.Module):
    """States that leave -bound ... bound stay at the bound: long blown up, but nothing in the chain sees a NaN."""

    def __init__(self, bound: float = 1e3):
        super().__init__()
        self.bound = bound

    def forward(self, u: Tensor) -> Tensor:
        return u.clamp(-self.bound, self.bound).nan_to_num(nan=self.bound)


class Rate(nn.Module):
    """``dt N(u)``: the network's output is a rate of change, as in the right-hand side of the equation."""

    def __init__(self, network: nn.Module, dt: float):
        super().__init__()
        self.network, self.dt = network, dt

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return parameter_names(self.network)

    def forward(self, u: Tensor, **parameters: Tensor) -> Tensor:
        return self.dt * self.network(u, **select(self.network, parameters))


@dataclass(frozen=True)
class Baseline:
    """A step without a network, on a grid of so many points."""

    step: Callable[[], nn.Module]
    num_points: int = 32
