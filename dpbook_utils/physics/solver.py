"""What every solver is: one step ``u(t) -> u(t + dt)`` without trainable weights.

State ``(batch, channels, *spatial)``. Physical parameters are tensors, one value per sample, and travel
with the call: ``solver(u, viscosity=nu)``.   Chapter: 00_solver_as_operator.
"""

import threading
import weakref
from collections.abc import Iterator, Mapping
from inspect import signature

import torch
from torch import Tensor, nn

from .. import arguments
from ..calls import Explained, as_built, narrows, noted
from ..graphs.graph import canonical, current_recorder
from ..graphs.watch import Watch
from ..graphs.watched import version


def parameter_names(operator) -> tuple[str, ...]:
    """Physical parameters that an operator takes; a plain callable takes none."""
    return tuple(getattr(operator, "parameter_names", ()))


def select(operator, parameters: dict) -> dict:
    """Those of the parameters that the operator takes."""
    return {name: parameters[name] for name in parameter_names(operator) if name in parameters}


def solvers(operator) -> Iterator["Solver"]:
    """The solvers that an operator is or holds."""
    if isinstance(operator, Solver):
        yield operator
    elif isinstance(operator, nn.Module):
        for child in operator.children():
            yield from solvers(child)


class _Call:
    """One call of a solver: the kind of state, the checked parameters, and what ``precompute`` made of them, if known.

    The kind includes the graph that is being recorded, if any, and inference mode, whose tensors are of no use outside.
    """

    def __init__(self, kind: tuple, parameters: dict[str, Tensor]):
        self.kind, self.precomputed, self.is_checked = kind, None, False
        self.parameters = {name: (weakref.ref(value), version(value)) for name, value in parameters.items()}

    def given(self) -> dict[str, Tensor]:
        """The parameters, those that are still there."""
        return {name: value() for name, (value, _) in self.parameters.items() if value() is not None}

    def is_same(self, kind: tuple, parameters: dict) -> bool:
        """With these very tensors, unchanged since? Inference tensors do not say: no."""
        known = self.parameters
        return kind == self.kind and parameters.keys() == known.keys() and all(
            [known[name][0]() is value and known[name][1] == version(value) is not None
             for name, value in parameters.items()])


class _Memory(threading.local):
    """A solver's last call in this thread, for as long as the watch sees nothing changed that the solver could read."""

    def __init__(self):
        self.watch: Watch | None = None
        self.call: _Call | None = None
        self.apart: set[tuple] = set()  # kinds of calls in which no sample takes what is another's

    def __reduce__(self):
        return _Memory, ()  # a copy remembers nothing

    def refresh(self, solver: "Solver") -> None:
        if self.watch is None or not self.watch.unchanged():
            self.watch, self.call = Watch(solver), None
            self.apart.clear()


class Solver(Explained, nn.Module):
    """One time step of a PDE, as an operator on tensors.

    A solver states in class attributes which parameters it needs (``required``) and may take
    (``optional``), implements ``step``, and says in ``check_parameters`` and ``check_state`` which values
    it cannot integrate. Calling it checks the shapes, dtypes, devices and parameters, then runs ``step``, whose result
    is checked in the first of several like calls. To look at the state's values would cost too much: a single call
    takes NaN and passes it on, where ``Rollout`` refuses to start from it.

    Parameters are numbers, one per sample, but for ``force``, which is like the state, and those in ``fields``: there a
    solver states how many channels a parameter has on the grid. ``required = ("gravity", "depth")`` and
    ``fields = {"depth": 1}`` stand for gravity (batch,) and depth (batch, 1, *spatial).

    Attributes:
        dt: time step [s]; None for an operator that takes none, such as a projection.
        state_shape: ``(channels, *spatial)`` of one sample.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    fields: Mapping[str, int] = {}

    def __init__(self, dt: float | None, state_shape: tuple[int, ...]):
        super().__init__()
        label = type(self).__name__
        self.dt = None if dt is None else arguments.positive(label, "dt", dt)
        expected = "whole numbers (channels, *spatial) of at least 1"
        if arguments.is_number(state_shape):
            raise arguments.refusal(label, "state_shape", state_shape, f"{expected}, such as (1, {state_shape})")
        self.state_shape = arguments.one_per_axis(label, "state_shape", state_shape, arguments.whole, expected, most=8)
        self._memory = _Memory()

    def check_built(self) -> None:
        label = type(self).__name__
        if "_memory" not in vars(self):
            raise TypeError(f"{label}: __init__ lacks a call; begin it with super().__init__(dt, state_shape)")
        for name in ("required", "optional"):
            declared = getattr(self, name)
            if not isinstance(declared, (tuple, list)) or not all(isinstance(x, str) for x in declared):
                raise arguments.refusal(label, name, declared, f'the names of parameters, {name} = ("viscosity",)')
            if taken := ", ".join({"u0", "reference"} & set(declared)):
                raise arguments.refusal(label, name, declared, f"another name than a batch's own {taken}", ValueError)
        used = "step" if type(self).precompute is Solver.precompute else "precompute"
        for hook, given in ((used, ("u",) * (used == "step")), ("check_parameters", ()), ("check_state", ("u",))):
            for names in (self.required, self.parameter_names)[:1 + (not narrows(type(self), hook, "optional"))]:
                if reason := arguments.misfit(getattr(self, hook), *given, **dict.fromkeys(names)):
                    raise TypeError(f"{label}: {hook} cannot be called as {hook}({', '.join((*given, *names))}), "
                                    f"{reason}; give it the parameters that the class names in required and optional, "
                                    "those in optional with a default")
        arguments.mapping(label, "fields", self.fields, 'the channels of each field, fields = {"mask": 1}')
        taken = [name for name in signature(getattr(self, used)).parameters if name != "u"]
        if not narrows(type(self), used, "fields"):
            arguments.known(label, "name in fields", self.fields, [*dict.fromkeys([*self.parameter_names, *taken])])
        for name, channels in self.fields.items():
            arguments.whole(label, f"fields[{name!r}]", channels)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.required + self.optional

    def step(self, u: Tensor, **parameters: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must implement step(u, **parameters)")

    def parameter_shape(self, name: str) -> tuple[int, ...]:
        """Shape of one sample's value of the parameter: scalar, except for a force and what ``fields`` names."""
        if name in self.fields:
            return self.fields[name], *self.state_shape[1:]
        return self.state_shape if name == "force" else ()

    @property
    def result_shape(self) -> tuple[int, ...]:
        """``(channels, *spatial)`` of what ``step`` returns for one sample: a state, unless a solver says otherwise."""
        return self.state_shape

    def precompute(self, **parameters: Tensor) -> dict[str, Tensor]:
        """What ``step`` takes besides the state, if computing it from the parameters is dear.

        Done once in a roll-out; a parameter that needs a gradient makes it part of every step.
        """
        return parameters

    def check_parameters(self, **parameters: Tensor) -> None:
        """Raise ValueError for values of the parameters that the scheme cannot integrate stably."""

    def check_state(self, u: Tensor, **parameters: Tensor) -> None:
        """Raise ValueError for a state from which the scheme cannot start (called once per roll-out)."""

    def forward(self, u: Tensor, **parameters: Tensor | float) -> Tensor:
        parameters = self.prepare(u, parameters)
        try:
            if torch.is_autocast_enabled(u.device.type):
                with torch.autocast(u.device.type, enabled=False):  # physics keeps the state's precision
                    u_next = self._step(u, self._precomputed(parameters))
            else:
                u_next = self._step(u, self._precomputed(parameters))
        except RuntimeError as error:
            noted(error, f"{self.label}: in a step", u=u, **parameters)
            raise
        call = self._memory.call
        if call is not None and not call.is_checked:
            self.check_result(u, u_next)
            call.is_checked = True
        return u_next

    def _step(self, u: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        """The step of the call that ``prepare`` has just looked at."""
        return self.step(u, **parameters)

    def check_shape(self, u: Tensor) -> None:
        if not isinstance(u, Tensor):
            raise TypeError(f"{self.label}: the state is a {type(u).__name__}; give a torch.Tensor of shape "
                            f"{self._expected}")
        if tuple(u.shape[1:]) != self.state_shape or len(u) == 0:
            raise ValueError(f"{self.label}: the state has shape {tuple(u.shape)}, expected {self._expected}; "
                             "reshape it, or build the solver for this grid")
        if u.dtype not in (torch.float32, torch.float64) or u.layout is not torch.strided:
            raise TypeError(f"{self.label}: the state has dtype {u.dtype}, expected torch.float32 or torch.float64"
                            f"{'' if u.layout is torch.strided else ' and no ' + str(u.layout)}; convert it")
        arguments.device(self.label, u.device)

    def check_result(self, u: Tensor, u_next) -> None:
        """Raise for what is no state after ``u``, and for a step in which samples take each other's parameters."""
        expected = (len(u), *self.result_shape)
        if not isinstance(u_next, Tensor) or u_next.shape != expected or u_next.dtype != u.dtype:
            raise arguments.refusal(self.label, "the result of step", u_next, "the next state, a tensor of shape "
                                    f"{expected} and {u.dtype}")
        transformed = current_recorder() is not None or torch._C._functorch.peek_interpreter_stack()
        if 1 < len(u) and len(u) in self.state_shape and not transformed:
            self._check_samples(u, u_next)

    def _check_samples(self, u: Tensor, u_next: Tensor) -> None:
        """With as many samples as points, a number per sample that is not reshaped passes for one per point."""
        memory, parameters = self._memory, {} if self._memory.call is None else self._memory.call.given()
        numbers = {name: value[:1].repeat(len(u)) for name, value in parameters.items()
                   if value.ndim == 1 and bool((value != value[0]).any())}
        if not numbers or memory.call.kind in memory.apart:
            return
        with torch.no_grad():
            alike, again = (self.step(u, **self.precompute(**given))[0]
                            for given in ({**parameters, **numbers}, parameters))
        if torch.equal(again, u_next[0]) and (alike - again).abs().max() > 1e-4 * again.abs().max():
            name = next(iter(numbers))
            raise ValueError(f"{self.label}: the result of step for sample 0 changes with the {name} of other samples; "
                             f"make it one number per sample, {name}.view(-1{', 1' * (u.ndim - 1)})")
        memory.apart.add(memory.call.kind)

    def prepare(self, u: Tensor, parameters: dict) -> dict[str, Tensor]:
        """Parameters as tensors ``(batch, ...)`` like the state, checked with it. Raises for what does not fit."""
        memory, recorder = self._memory, current_recorder()
        if recorder is None:
            memory.refresh(self)
        kind = isinstance(u, Tensor) and (u.shape, u.dtype, u.device, recorder and weakref.ref(recorder),
                                          torch.is_inference_mode_enabled())
        if missing := [name for name, value in parameters.items() if value is None]:
            raise TypeError(f"{self.label}: parameter {missing[0]} is None; give a number or a tensor, or leave it out")
        if memory.call is not None and memory.call.is_same(kind, parameters):
            # A roll-out passes the same tensors at every step: read their values (a wait on a GPU) once.
            return parameters
        self.check_shape(u)
        arguments.known(self.label, "parameter", parameters, self.parameter_names)
        missing = sorted(set(self.required) - set(parameters))
        if missing:
            raise ValueError(f"{self.label}: parameter {', '.join(missing)} is missing; give {missing[0]}=... in the "
                             f"call, or {missing[0]!r} in the batch")
        prepared = {name: self._prepare_one(u, name, value) for name, value in parameters.items()}
        if recorder is None:
            for name, value in prepared.items():
                if not torch.isfinite(value).all():
                    raise ValueError(f"{self.label}: parameter {name} contains NaN or infinity; "
                                     "check where it is computed")
            self.check_parameters(**{name: value.detach() for name, value in prepared.items()})
        memory.call = _Call(kind, prepared)
        return prepared

    def _precomputed(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """What ``step`` takes in the call that ``prepare`` has just looked at, computed once."""
        if type(self).precompute is Solver.precompute:
            return parameters
        if any(value.requires_grad for value in parameters.values()):
            return self.precompute(**parameters)  # its graph serves one backward pass
        call = self._memory.call
        if call.precomputed is not None:
            return call.precomputed
        result = {name: canonical(value) for name, value in self.precompute(**parameters).items()}
        if not any(value.requires_grad for value in result.values()):  # by weights of the solver's own
            call.precomputed = result
        return result

    def _prepare_one(self, u: Tensor, name: str, value: Tensor | float) -> Tensor:
        expected = (u.shape[0], *self.parameter_shape(name))
        if arguments.is_number(value):
            value = torch.full((), float(value), dtype=u.dtype, device=u.device)
        if not isinstance(value, Tensor):
            raise TypeError(f"{self.label}: parameter {name} is a {type(value).__name__}; "
                            f"give a number or a tensor of shape {expected}")
        if value.ndim == 0:
            value = value.expand(expected)
        if tuple(value.shape) != expected:
            advice = "give one value per sample, or a number for all"
            if len(expected) > 1:
                advice = "give a field for each sample, as field.expand(batch, -1, -1) makes of one, or a number"
            elif value.ndim > 2:
                advice += "; a field has its number of channels in the solver's attribute fields"
            raise ValueError(f"{self.label}: parameter {name} has shape {tuple(value.shape)}, expected {expected}; "
                             f"{advice}")
        return arguments.like(self.label, name, value, u, "u")

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_memory": _Memory()}  # which must not be shared by shallow copies

    @property
    def label(self) -> str:  # how error messages name this solver
        return type(self).__name__

    def extra_repr(self) -> str:
        grid = self.state_shape[1:]
        return as_built(self, num_points=grid[0] if len(grid) == 1 else grid)

    @property
    def _expected(self) -> str:
        return "(batch, " + ", ".join(map(str, self.state_shape)) + ")"
