"""Burgers' equation as a poor scheme has it: ``taught``.   Chapter: 09_choosing_the_numerics."""

from collections.abc import Sequence

from torch import Tensor, nn

from dpbook_utils.data import cell_averages
from dpbook_utils.rollout import Sequential

from .schemes import BurgersSchemes, burgers_schemes


class TaughtBurgers(BurgersSchemes):
    """``burgers_schemes`` with training data made by a poor scheme, the ``teacher``, instead of the resolved one.

    The teacher runs on ``fine_points`` cells from the same initial states, and a hybrid is trained on what 32 cells see
    of it. It is judged on the resolved solution, as the teacher itself is: both by averages over the same 32 cells.

    Chapter: 09_choosing_the_numerics.
    """

    def reference_solver(self) -> Sequential:
        return self.coarse_solver(self.teacher, self.fine_points)

    def judged(self, step: nn.Module, seeds: Sequence[int], num_points: int) -> dict[str, Tensor]:
        """The ``measures`` of a step inside, against the resolved solution and, as ``distance``, the teacher's."""
        prediction, truth = self.seen(burgers_schemes, step, seeds, num_points)
        distance = self.capped_error(*self.seen(self, step, seeds, num_points)).unflatten(0, (len(seeds), -1))
        measures = self.judge_rollouts(prediction, truth, len(seeds))
        return {f"{name}.inside": value for name, value in measures.items()} | {
            "distance": distance.mean((1, 2))}

    def seen(self, problem: BurgersSchemes, step: nn.Module, seeds: Sequence[int],
             num_points: int) -> tuple[Tensor, Tensor]:
        """What 32 cells see of a roll-out from a problem's initial states, and of the problem's own states."""
        prediction, states = problem.rolled(step, "inside", seeds, num_points)
        return cell_averages(prediction, self.num_points), cell_averages(states, self.num_points)


taught = {teacher: TaughtBurgers(**burgers_schemes.settings | {"fine_points": 64, "teacher": teacher})
          for teacher in ("upwind", "semi-Lagrangian")}
