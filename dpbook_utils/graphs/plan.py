"""A graph as a fixed list of calls on memory that is laid out beforehand.   Chapter: 00_solver_as_operator.

Recorded operations have fixed shapes, so that where each result goes, and every view of it, is known before the first
call. Values that live only inside the graph share one block of memory: two that are never needed at the same time take
the same place. What is left of a call is one line of Python for each operation that computes something, and every line
calls the operation that was recorded: values are bit for bit those of the graph. With a ``Table``, consecutive lines
become one call of machine code.
"""

import math
import operator
import types
from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, fx

from .graph import laid_out
from .memory import arenas
from .operations import COPIES, INTO_NAMED, PARTS, SMALL, ZEROS, may_be_placed, num_bytes, public, source, view
from .table import ENTRY, Table

aten = torch.ops.aten
WITH_NUMBERS = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor}
_NORMS = {True: {0: "backward", 1: "ortho", 2: "forward"}, False: {0: "forward", 1: "ortho", 2: "backward"}}


class _Number(NamedTuple):
    """A number that an operation takes as a tensor, which torch otherwise makes of it at every call."""

    value: float
    dtype: torch.dtype

    def tensor(self, device: torch.device) -> Tensor:
        return torch.tensor(self.value, dtype=self.dtype, device=device)


class Plan:
    """``plan(*inputs) -> [tensors]`` of a graph, without autograd. Outputs share no memory with the plan's own.

    Args:
        graph: with ``node.meta["like"]`` of every value; it is read only.
        constants: by the names of its ``get_attr`` nodes.
        table: of operations that machine code does; None: each is a call of torch.
    """

    def __init__(self, graph: fx.Graph, constants: dict[str, Tensor], table: Table | None = None):
        self.nodes, self.constants, self.table = list(graph.nodes), constants, table
        self.inputs = [node for node in self.nodes if node.op == "placeholder"]
        self.roots: dict[fx.Node, fx.Node] = {}
        for node in self.nodes:
            looked_at = source(node)
            self.roots[node] = node if looked_at is None else self.roots[looked_at]
        self._place()
        self._write()
        if self.table is not None and self.num_entered < len(self.places) / 2:  # many short runs are slower than none
            self.table = None
            self._place()
            self._write()
        self.bound: tuple[Tensor | None, types.FunctionType | None] = None, None

    # Where values are ------------------------------------------------------------------------------------------------

    def _place(self) -> None:
        """Give every value inside the graph its place in the arena."""
        last: dict[fx.Node, int] = {}
        for i, node in enumerate(self.nodes):
            for x in node.all_input_nodes:
                if node.op != "output" or x.op != "placeholder":
                    last[self.roots[x]] = i
        self.num_reads = Counter(self.roots[x] for node in self.nodes if self.roots[node] is node
                                 for x in node.all_input_nodes)
        returned = {self.roots[x] for x in self.nodes[-1].all_input_nodes if x.op != "placeholder"}
        self.last, self.places, self.num_bytes = last, {}, 0
        free, ends = defaultdict(list), defaultdict(list)
        for i, node in enumerate(self.nodes):
            if self.roots[node] is node and node in last and self._may_be_placed(node, node in returned):
                size = num_bytes(node)
                if self._is_added_to(node, i):
                    ends[i].remove((size, self.places[node.args[0]]))
                    free[size].append(self.places[node.args[0]])
                elif not free[size]:
                    free[size].append(self.num_bytes)
                    self.num_bytes += size
                self.places[node] = free[size].pop()
                ends[last[node]].append((size, self.places[node]))
            for size, place in ends.pop(i, ()):
                free[size].append(place)

    def _may_be_placed(self, node: fx.Node, returned: bool) -> bool:
        if self.table is not None and node.op == "placeholder":
            return not returned and may_be_placed(node, SMALL * self.num_reads[node])
        if self.table is not None and self.table.takes(node):
            # What is returned is then copied for the caller; one that is a copy itself is made at the end.
            return not returned or node.target not in COPIES and num_bytes(node) <= SMALL
        return not returned and may_be_placed(node)

    def _is_added_to(self, node: fx.Node, i: int) -> bool:
        """The i-th call adds products to a value that nothing else needs: it stays where that is."""
        if self.table is None or node.target is not aten.baddbmm.default:
            return False
        start = node.args[0]
        return start in self.places and self.last[start] == i and start not in node.args[1:] and (
            start.meta["like"] == node.meta["like"])

    def _is_fixed(self, node: fx.Node) -> bool:
        return node.op == "get_attr" or self.roots[node].op == "get_attr" or self.roots[node] in self.places

    # What is called --------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """The calls as the source of a Python function; ``_bind`` gives its names their values."""
        self.known: dict[str, object] = {}  # what is the same for all arenas: functions, numbers, shapes
        self.fixed: dict[str, object] = {}  # name, and how it is made of an arena's values
        lines, ended = [], defaultdict(list)
        for root, i in self.last.items():
            if not self._is_fixed(root) and root.op == "call_function":
                ended[i].append(root)
        moving = defaultdict(list)
        self.num_entered = 0
        pending: list[tuple] = []  # entries of the table that no line calls yet
        arena = torch.empty(self.num_bytes if self.table else 0, dtype=torch.uint8, device="cpu")
        values = self._values(arena) if self.table else {}
        for i, node in enumerate(self.nodes):
            found = self.table.entries(node, values) if self.table and node in self.places else None
            if found is not None:
                pending += found
                self.num_entered += 1
                continue
            if pending and self._touches_places(node):
                self._go_through(pending, arena, lines)
                pending = []
            if node.op == "placeholder":
                self._take_input(node, lines)
            elif node.op == "call_function":
                if not self._is_fixed(node):
                    moving[self.roots[node]].append(node)
                self._call(node, lines)
            elif node.op == "output":
                # An input that is an output is the caller's own, wherever the plan has copied it to.
                results = [self._returned(x) for x in node.args[0]]
                lines.append(f"return [{', '.join(results)}]")
            gone = [name.name for root in ended[i] for name in moving[root]]
            if gone and node.op == "call_function":
                lines.append(" = ".join(gone) + " = None")
        arguments = ", ".join(node.name for node in self.inputs)
        self.source = f"def run({arguments}):\n    " + "\n    ".join(lines) + "\n"
        self.code = compile(self.source, "<plan>", "exec")

    def _touches_places(self, node: fx.Node) -> bool:
        """The call reads or writes values inside the graph, so that what comes before it must have been done."""
        return node.op == "output" or any(self.roots[x] in self.places for x in (node, *node.all_input_nodes)) and (
            self.roots[node] is node or node.target is not operator.getitem and node.target._schema.is_mutable)

    def _go_through(self, entries: list[tuple], arena: Tensor, lines: list[str]) -> None:
        name, entries = f"table_{len(lines)}", np.array(entries, ENTRY)
        self._fix(name, lambda values: self.table.bound(entries, arena, values[None]))
        lines.append(f"{name}()")

    def _returned(self, node: fx.Node) -> str:
        if node.op == "placeholder":
            return node.name
        return self._name(node, node.name) + (".clone()" if self.roots[node] in self.places else "")

    def _take_input(self, node: fx.Node, lines: list[str]) -> None:
        shape, stride, _, _ = node.meta["like"]
        if node not in self.last:
            return
        if node in self.places:
            self._fix(f"into_{node.name}", lambda values, node=node: values[node].copy_)
            lines.append(f"into_{node.name}({node.name})")
        else:
            self.known.update(laid_out=laid_out, **{f"{node.name}_shape": shape, f"{node.name}_stride": stride})
            lines.append(f"if {node.name}.stride() != {node.name}_stride: "
                         f"{node.name} = laid_out({node.name}, {node.name}_shape, {node.name}_stride)")
            if any(user.target is aten.as_strided.default for user in node.users):
                lines.append(f"start_of_{node.name} = {node.name}.storage_offset()")

    def _call(self, node: fx.Node, lines: list[str]) -> None:
        name, target = node.name, node.target
        if self._is_fixed(node):
            if self.roots[node] is node:
                self._write_into(node, lines)
            elif target is not operator.getitem and target._schema.is_mutable:
                lines.append(self._expression(node, public(target)))
        elif target is operator.getitem:
            lines.append(f"{name} = {self._name(node.args[0], name)}[{node.args[1]}]")
        elif target is aten.as_strided.default:
            source, shape, stride, offset = node.args
            self.known[f"{name}_shape"], self.known[f"{name}_stride"] = tuple(shape), tuple(stride)
            if self.roots[source].op == "placeholder":  # which may lie anywhere in its memory
                offset = f"{offset - source.meta['like'][3]} + start_of_{source.name}"
            lines.append(f"{name} = {source.name}.as_strided({name}_shape, {name}_stride, {offset})")
        else:
            lines.append(f"{name} = {self._expression(node, public(target))}")

    def _write_into(self, node: fx.Node, lines: list[str]) -> None:
        name, target = node.name, node.target
        if target in COPIES:
            self._fix(f"into_{name}", lambda values: values[node].copy_)
            lines.append(f"into_{name}({self._name(node.args[0], name)})")
        elif target in ZEROS:
            self._fix(f"clear_{name}", lambda values: values[node].zero_)
            lines.append(f"clear_{name}()")
        elif target in PARTS:
            g, _, *where = node.args
            self._fix(f"clear_{name}", lambda values: values[node].zero_)
            self._fix(f"into_{name}", lambda values: PARTS[target](values[node], *where).copy_)
            lines += [f"clear_{name}()", f"into_{name}({self._name(g, name)})"]
        elif target in INTO_NAMED:
            lines.append(self._expression(node, INTO_NAMED[target], f"grad_input={self._name(node, name)}"))
        else:
            lines.append(self._expression(node, public(target), f"out={self._name(node, name)}"))

    def _expression(self, node: fx.Node, function, *more: str) -> str:
        args, kwargs = node.args, node.kwargs
        if node.target in WITH_NUMBERS and type(args[1]) in (int, float) and _is_real_like(node, args[0]):
            args = args[0], _Number(args[1], node.meta["like"][2]), *args[2:]
        if node.target is aten._fft_c2c.default and len(args[1]) == 1 and args[2] in _NORMS[args[3]]:
            function, kwargs = (torch.fft.fft if args[3] else torch.fft.ifft), {}
            args = args[0], None, args[1][0], _NORMS[args[3]][args[2]]
        known = function.__name__.split(".")[0]
        while self.known.setdefault(known, function) is not function:
            known += "_"
        arguments = [self._name(x, f"{node.name}_{i}") for i, x in enumerate(args)]
        arguments += [f"{key}={self._name(x, f'{node.name}_{key}')}" for key, x in kwargs.items()
                      if not (more and key in ("dtype", "memory_format"))]
        return f"{known}({', '.join([*arguments, *more])})"

    def _name(self, value, name: str) -> str:
        """How the source calls an argument."""
        if isinstance(value, fx.Node):
            if self._is_fixed(value):
                self._fix(f"fixed_{value.name}", lambda values: values[value])
                return f"fixed_{value.name}"
            return value.name
        if isinstance(value, (list, tuple)) and any(isinstance(x, fx.Node) for x in value):
            if all(self._is_fixed(x) for x in value if isinstance(x, fx.Node)):
                self._fix(f"of_{name}", lambda values: [values[x] if isinstance(x, fx.Node) else x for x in value])
                return f"of_{name}"
            return "[" + ", ".join(self._name(x, f"{name}_{i}") for i, x in enumerate(value)) + "]"
        if isinstance(value, _Number):
            self._fix(f"of_{name}", lambda values: value.tensor(values[None].device))
            return f"of_{name}"
        if value is None or type(value) in (bool, int) or type(value) is float and math.isfinite(value):
            return repr(value)
        self.known[f"of_{name}"] = value
        return f"of_{name}"

    def _fix(self, name: str, make) -> None:
        self.fixed[name] = make

    # A call ----------------------------------------------------------------------------------------------------------

    def _bind(self, memory: Tensor) -> types.FunctionType:
        """The function on an arena: every view of it is made here, once."""
        with torch.inference_mode(False):
            values = self._values(memory)
            names = {**self.known, **{name: make(values) for name, make in self.fixed.items()}}
        exec(self.code, names)
        return names["run"]

    def _values(self, memory: Tensor) -> dict[fx.Node | None, Tensor]:
        values: dict[fx.Node | None, Tensor] = {None: memory}
        for node in self.nodes:
            if node.op == "get_attr":
                values[node] = self.constants[node.target]
            elif node in self.places:
                shape, stride, dtype, _ = node.meta["like"]
                start = self.places[node]
                values[node] = memory[start:start + num_bytes(node)].view(dtype).as_strided(shape, stride)
            elif node.op == "call_function" and self._is_fixed(node):
                values[node] = view(node, values)
        return values

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        memory = arenas.take(self.num_bytes, inputs[0].device)
        try:
            bound = self.bound
            if bound[0] is not memory:
                self.bound = bound = memory, self._bind(memory)
            return bound[1](*inputs)
        finally:
            arenas.bring_back(memory)


def _is_real_like(node: fx.Node, x) -> bool:
    dtype = node.meta["like"][2]
    return dtype.is_floating_point and isinstance(x, fx.Node) and x.meta["like"][2] == dtype
