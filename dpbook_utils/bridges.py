"""Foreign steps as solvers: of NumPy, compiled ones, black boxes without a gradient, and of JAX.

Chapter: 13_foreign_solvers.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from . import arguments
from .estimates import GradientEstimate
from .foreign import ForeignError, ForeignSolver
from .gradients import NoSolverGradient


class _FromNumpy(ForeignSolver):
    """A step of NumPy with a hand-written derivative, or none."""

    maker = "from_numpy"

    def __init__(self, step: Callable, state_shape, jvp: Callable | None, vjp: Callable | None, dt, shapes):
        super().__init__(step, state_shape, dt, shapes)
        self.jvp, self.vjp = jvp, vjp
        for name, function in (("jvp", jvp), ("vjp", vjp)):
            if function is not None:
                arguments.function(self.maker, name, function, f"a function {name}(u, g, **parameters) of arrays")
            if function is not None and (reason := arguments.misfit(function, None, None,
                                                                    **dict.fromkeys(self.required))):
                raise arguments.refusal(self.maker, name, function, "a function called as "
                                        f"{name}({', '.join(('u', 'g', *self.required))}), where this one says: "
                                        f"{reason}")

    def call(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.result("the step", self.function, inputs, like=inputs["u"])

    def result(self, what: str, function: Callable, inputs: Mapping[str, Tensor], *more: Tensor,
               like: Tensor) -> Tensor:
        found = self.run(what, function, _array(inputs["u"]), *map(_array, more),
                         **{name: _array(x) for name, x in inputs.items() if name != "u"})
        return self.tensor(f"the result of {what}", found, like, inputs)

    def tensor(self, what: str, found, like: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """A copy: compiled code may use the memory of its result again."""
        if not arguments.is_readable(found):
            raise ForeignError(f"{self.label}: {what} is {arguments.shown(found)}; let it return a NumPy array of the "
                               f"shape {tuple(like.shape)} and {str(like.dtype).removeprefix('torch.')}, without a "
                               "mask (result.filled(0.0)) or negative strides (result.copy())")
        return self.checked(what, torch.tensor(found).to(like.device), like, inputs)

    def pull_back(self, inputs: dict[str, Tensor], g: Tensor, wanted: Sequence[str]) -> Mapping[str, Tensor]:
        if self.vjp is not None:
            found = self.run("its vjp", self.vjp, _array(inputs["u"]), _array(g),
                             **{name: _array(x) for name, x in inputs.items() if name != "u"})
            found = found if isinstance(found, Mapping) else {"u": found}
            return {name: self.tensor(f"the gradient with respect to {name}", found[name], inputs[name], inputs)
                    for name in wanted if name in found}
        if self.jvp is None:
            raise ForeignError(f"{self.label}: it has no derivative; give vjp=..., or use "
                               "black_box(step, ..., gradient=FiniteDifferences())")
        if wanted != ["u"]:
            raise ForeignError(f"{self.label}: its jvp moves the state alone, and a gradient with respect to "
                               f"{', '.join(name for name in wanted if name != 'u')} was asked for; give vjp=...")
        u, columns = inputs["u"], []
        for i in range(u[0].numel()):
            move = torch.zeros_like(u, memory_format=torch.contiguous_format)
            move.view(len(u), -1)[:, i] = 1
            columns.append((g * self.result("its jvp", self.jvp, inputs, move, like=u)).flatten(1).sum(1))
        return {"u": torch.stack(columns, 1).view(u.shape)}


class _BlackBox(_FromNumpy):
    """A step of NumPy of which only values are known."""

    maker = "black_box"

    def __init__(self, step: Callable, state_shape, gradient: GradientEstimate | NoSolverGradient, dt, shapes):
        super().__init__(step, state_shape, None, None, dt, shapes)
        self.gradient = arguments.instance(
            self.maker, "gradient", gradient, (GradientEstimate, NoSolverGradient),
            "a way to get a gradient, such as FiniteDifferences(), Simultaneous(8) or NoSolverGradient()")
        if unknown := sorted(set(getattr(gradient, "sizes", ())) - {"u", *self.parameter_names}):
            raise arguments.refusal(self.maker, "a name in the gradient's sizes", unknown[0], "one of "
                                    f"{', '.join(('u', *self.parameter_names))}", ValueError)

    def step(self, u: Tensor, **parameters: Tensor) -> Tensor:
        tracks = torch.is_grad_enabled() and not isinstance(self.gradient, NoSolverGradient)
        with torch.set_grad_enabled(tracks):
            return super().step(u, **parameters)

    def pull_back(self, inputs: dict[str, Tensor], g: Tensor, wanted: Sequence[str]) -> Mapping[str, Tensor]:
        return self.gradient(self.call, inputs, g, wanted)


class _FromJax(ForeignSolver):
    """A step of JAX, compiled, with JAX's gradient."""

    maker = "from_jax"

    def __init__(self, step: Callable, state_shape, dt, shapes):
        super().__init__(step, state_shape, dt, shapes)
        self.jax = _jax()

        def pulled(inputs, g, wanted):
            def of(some):
                given = {**inputs, **some}
                return step(given.pop("u"), **given)

            return self.jax.vjp(of, {name: inputs[name] for name in wanted})[1](g)[0]

        self._step_of, self._pulled = self.jax.jit(step), self.jax.jit(pulled, static_argnums=2)

    def call(self, inputs: Mapping[str, Tensor]) -> Tensor:
        given = self.arrays(inputs)
        found = self.run("the step (of one state only? Then give jax.vmap(step))", self._step_of, given.pop("u"),
                         **given)
        return self.tensor("the result of the step", found, inputs["u"], inputs)

    def pull_back(self, inputs: dict[str, Tensor], g: Tensor, wanted: Sequence[str]) -> Mapping[str, Tensor]:
        found = self.run("JAX's vjp of it", self._pulled, self.arrays(inputs), self.array(g), tuple(wanted))
        return {name: self.tensor(f"the gradient with respect to {name}", found[name], inputs[name], inputs)
                for name in wanted}

    def arrays(self, inputs: Mapping[str, Tensor]) -> dict:
        return {name: self.array(x) for name, x in inputs.items()}

    def array(self, x: Tensor):
        """The same memory, seen by JAX."""
        if x.dtype == torch.float64 and not self.jax.config.jax_enable_x64:
            raise ForeignError(f"{self.label}: the state is torch.float64, which JAX cuts to single precision unless "
                               "told otherwise; begin with jax.config.update('jax_enable_x64', True)")
        return self.jax.dlpack.from_dlpack(x.resolve_conj().resolve_neg().contiguous())

    def tensor(self, what: str, found, like: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """The same memory, seen by torch."""
        if not isinstance(found, self.jax.Array):
            raise ForeignError(f"{self.label}: {what} is {arguments.shown(found)}; let it return a jax.Array of the "
                               f"shape {tuple(like.shape)}")
        return self.checked(what, torch.from_dlpack(self.jax.block_until_ready(found)), like, inputs)


def from_numpy(step: Callable, state_shape: tuple[int, ...], *, jvp: Callable | None = None,
               vjp: Callable | None = None, dt: float | None = None,
               shapes: Mapping[str, tuple[int, ...]] | None = None) -> ForeignSolver:
    """A step of NumPy, or a compiled one called through ctypes, as a solver whose gradient you give.

    Args:
        step: ``step(u, **parameters) -> u_next`` on arrays (batch, channels, *spatial) of the state's precision.
        state_shape: (channels, *spatial).
        vjp: ``vjp(u, g, **parameters)``: the gradient of <g, step(u)> with respect to u, an array like u; or
            a dict ``{"u": ..., "viscosity": ...}`` of those with respect to parameters too.
        jvp: ``jvp(u, v, **parameters)``: the derivative of step along v. Without a vjp the gradient is put together
            from it, exactly, by one call for each of a sample's numbers.
        dt: time step [s], for those who ask for it.
        shapes: of one sample's value of parameters that are no numbers, ``{"coefficients": (5,)}``.

    Without either the step generates data, and a gradient is refused. Second derivatives are refused, and so is
    tracing. The state is passed without a copy, its result is copied.
    Raises: ForeignError, which names the step, if it raises, writes to its input, returns NaN, another shape or
        dtype, or something else at the second call.   Chapter: 13_foreign_solvers.
    """
    return _FromNumpy(step, state_shape, jvp, vjp, dt, shapes)


def black_box(step: Callable, state_shape: tuple[int, ...], *, gradient: GradientEstimate | NoSolverGradient,
              dt: float | None = None, shapes: Mapping[str, tuple[int, ...]] | None = None) -> ForeignSolver:
    """A step of which only values are known, as a solver with an estimated gradient.

    Args:
        step, state_shape, dt, shapes: as in ``from_numpy``. The step takes batches of any size: the differences of
            all samples and directions are computed by one call.
        gradient: ``FiniteDifferences()``, ``Simultaneous(num_samples)``, ``EvolutionStrategies(num_samples, sigma)``,
            ``Surrogate(network)``, or ``NoSolverGradient()`` for none.

    Raises: as ``from_numpy``.   Chapter: 13_foreign_solvers.
    """
    return _BlackBox(step, state_shape, gradient, dt, shapes)


def from_jax(step: Callable, state_shape: tuple[int, ...], *, dt: float | None = None,
             shapes: Mapping[str, tuple[int, ...]] | None = None) -> ForeignSolver:
    """A step of JAX as a solver, with the gradient that JAX gives. It is compiled by ``jax.jit``.

    A stepper of one state, as those of exponax are, becomes one of a batch by ``jax.vmap``:

        P = dp.from_jax(jax.vmap(stepper), (1, 64))

    Args:
        step, state_shape, dt, shapes: as in ``from_numpy``, on JAX's arrays.

    Tensors and arrays share their memory (DLPack), on the CPU and on a GPU that both see.
    Raises: ImportError without JAX; ForeignError as ``from_numpy``, and for double precision that JAX is not set to.
    Chapter: 13_foreign_solvers.
    """
    return _FromJax(step, state_shape, dt, shapes)


def _jax():
    try:
        import jax
    except ImportError as error:
        raise ImportError("from_jax: JAX is not installed; pip install jax, or bring the step in NumPy by "
                          "from_numpy") from error
    return jax


def _array(x: Tensor) -> np.ndarray:
    """The tensor's memory, which NumPy may read and not write."""
    array = np.ascontiguousarray(x.detach().cpu().numpy())
    array.flags.writeable = False
    return array
