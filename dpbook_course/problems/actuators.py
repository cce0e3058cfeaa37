"""What makes a force of a policy's command: in proportion, or all or nothing behind a threshold.

A command is a number of -1 ... 1 for every cell. Chapter: 12_control.
"""

import torch
from torch import Tensor, nn

from dpbook_utils import arguments
from dpbook_utils.calls import Explained


class Proportional(Explained, nn.Module):
    """``force = bound * command``.

    Args:
        bound: largest force [m/s^2].
    """

    def __init__(self, bound: float):
        super().__init__()
        self.bound = arguments.positive(type(self).__name__, "bound", bound)

    def forward(self, command: Tensor) -> Tensor:
        return self.bound * command


class Relay(Proportional):
    """A jet that is on or off: the whole force to one side where the command exceeds the threshold, else none.

        force = bound * sign(command)  where |command| > threshold,  0 elsewhere

    The gradient that PyTorch gives is that of the steps: zero, without a word. Source: suh2022.

    Args:
        bound: the force [m/s^2].
        threshold: 0 ... 1, of the command.
    """

    def __init__(self, bound: float, threshold: float):
        super().__init__(bound)
        self.threshold = arguments.number(type(self).__name__, "threshold", threshold, least=0)
        if self.threshold >= 1:
            raise ValueError(f"{type(self).__name__}: threshold is {threshold}, which no command of -1 ... 1 exceeds; "
                             "give less than 1")

    def forward(self, command: Tensor) -> Tensor:
        return self.bound * torch.sign(command) * (command.abs() > self.threshold).to(command.dtype)


class Smoothed(Relay):
    """A relay whose steps are ramps while a policy is trained (``.train()``); at test it is the relay itself.

        force = bound * (s((command - threshold) / width) - s((-command - threshold) / width)),   s logistic

    Behaviour: a width that is small beside the threshold leaves no gradient again; a large one trains for another
    actuator than the one at test. Good values: threshold 0.3, width 0.05 ... 0.2.
    """

    def __init__(self, bound: float, threshold: float, width: float):
        super().__init__(bound, threshold)
        self.width = arguments.positive("Smoothed", "width", width)

    def forward(self, command: Tensor) -> Tensor:
        if not self.training:
            return super().forward(command)
        up, down = (torch.sigmoid((sign * command - self.threshold) / self.width) for sign in (1, -1))
        return self.bound * (up - down)


class Randomised(Relay):
    """A relay with its own values, and in training (``.train()``) the gradient of its mean over noise on the command.

        d force / d command = mean over samples of  (f(c + sigma e) - f(c - sigma e)) / (2 sigma) e,    e normal

    It costs no step of the solver: the actuator alone is called again. The random numbers are torch's.
    Behaviour: unbiased for the relay that noise has smoothed. Good values: threshold 0.3, sigma 0.3, 4 samples.
    Source: suh2022 (randomised smoothing), salimans2017 (the estimate).
    """

    def __init__(self, bound: float, threshold: float, sigma: float, num_samples: int = 4):
        super().__init__(bound, threshold)
        self.sigma = arguments.positive("Randomised", "sigma", sigma)
        self.num_samples = arguments.whole("Randomised", "num_samples", num_samples)

    def forward(self, command: Tensor) -> Tensor:
        force = super().forward(command)
        if not self.training:
            return force
        held = command.detach()
        e = torch.randn(self.num_samples, *held.shape, dtype=held.dtype, device=held.device)
        difference = super().forward(held + self.sigma * e) - super().forward(held - self.sigma * e)
        slope = (difference * e).mean(0) / (2 * self.sigma)
        return force + slope.detach() * (command - held)
