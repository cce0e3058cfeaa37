"""A graph run without Python between its operations, by TorchScript's interpreter.   Chapter: 00_solver_as_operator."""

import math
import operator

import torch
from torch import Tensor, fx

from .graph import Graph, TraceError, laid_out
from .lowering import lower
from .simplify import is_pure, own_outputs, storage, written_storages


class Program:
    """A graph as one TorchScript function, run without autograd: ``(*placeholders) -> [tensors]``.

    Inputs may have any strides: they are brought into those that the graph was recorded with.

    Args:
        owned: so many outputs, from the first on, share memory with nothing, for the caller to write to; None for all.
    """

    def __init__(self, graph: fx.Graph, constants: dict[str, Tensor], owned: int | None = None):
        graph, constants = copy_graph(graph), dict(constants)
        own_outputs(graph, owned)
        lower(graph, constants)
        self.layouts = [node.meta["like"][:2] for node in graph.nodes if node.op == "placeholder"]
        inputs = [node for op in ("placeholder", "get_attr") for node in graph.nodes if node.op == op]
        lines = [f"{node.name} = {_expression(node)}" for node in graph.nodes if node.op == "call_function"]
        output, = (node for node in graph.nodes if node.op == "output")
        arguments = ", ".join(f"{node.name}: Tensor" for node in inputs)
        lines.append(f"return {_literal(output.args[0])}")
        source = f"def run({arguments}) -> List[Tensor]:\n    " + "\n    ".join(lines) + "\n"
        values = [constants[node.target] for node in inputs if node.op == "get_attr"]
        self.run = _with_constants(torch.jit.CompilationUnit(source).run.graph.copy(), values)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self(*inputs)
        if torch.is_autocast_enabled(inputs[0].device.type):
            with torch.autocast(inputs[0].device.type, enabled=False):  # the recorded precision is meant
                return self(*inputs)
        inputs = [x if x.stride() == stride else laid_out(x, shape, stride)
                  for x, (shape, stride) in zip(inputs, self.layouts, strict=True)]
        # TorchScript's own optimisation would cost seconds at the first calls and gains nothing here. This is
        # torch.jit.optimized_execution(False), which as a context manager takes longer than some operations.
        optimise = torch._C._get_graph_executor_optimize()
        torch._C._set_graph_executor_optimize(False)
        try:
            return self.run(*inputs)
        finally:
            torch._C._set_graph_executor_optimize(optimise)


def _with_constants(script: torch.Graph, values: list[Tensor]) -> torch.ScriptFunction:
    """The function of a TorchScript graph whose last inputs have these values.

    Shapes and strides, too, become constants: a list is otherwise built at every call.
    """
    def replace(old: torch.Value, constant) -> None:
        script.setInsertPoint(next(script.nodes()))
        old.replaceAllUsesWith(script.insertConstant(constant))

    for value in reversed(values):
        last = len(list(script.inputs())) - 1
        replace(list(script.inputs())[last], value.detach())
        script.eraseInput(last)
    for node in script.findAllNodes("prim::ListConstruct"):
        if {x.node().kind() for x in node.inputs()} == {"prim::Constant"} and str(node.output().type()) == "List[int]":
            replace(node.output(), [x.toIValue() for x in node.inputs()])
            node.destroy()
    return torch._C._create_function_from_graph("run", script)


def copy_graph(graph: fx.Graph) -> fx.Graph:
    copied = fx.Graph()
    output = copied.graph_copy(graph, {})
    copied.output(output)
    return copied


def split(joint: Graph) -> tuple[Program, Program]:
    """A graph ``(g, *inputs) -> [value, *gradients]`` in two: ``(*inputs) -> [value, *kept]`` and
    ``(g, *kept) -> gradients``.

    What does not depend on the cotangent g and is needed for the gradients is kept.
    """
    nodes = list(joint.fx.nodes)
    g, *inputs = (node for node in nodes if node.op == "placeholder")
    value, *gradients = nodes[-1].args[0]
    backward = {g}
    for node in nodes:
        if backward.intersection(node.all_input_nodes) and node.op != "output":
            backward.add(node)
    # What the backward pass writes to must be its own: it may run twice.
    targets = written_storages(node for node in nodes if node in backward)
    backward.update(node for node in nodes if node.op == "call_function" and storage(node) in targets)
    needed = dict.fromkeys([x for node in nodes if node in backward for x in node.all_input_nodes] + gradients)
    kept = [x for x in needed if x not in backward and x.op != "get_attr"]
    return (Program(_part(nodes, set(nodes) - backward, inputs, [value, *kept]), joint.constants, owned=1),
            Program(_part(nodes, backward, [g, *kept], gradients), joint.constants))


def _part(nodes: list[fx.Node], inside: set[fx.Node], inputs: list[fx.Node], outputs: list[fx.Node]) -> fx.Graph:
    part, copies = fx.Graph(), {}
    for x in inputs:
        copies[x] = part.placeholder(x.name)
        copies[x].meta.update(x.meta)
    wanted = {*outputs, *(node for node in inside if not is_pure(node))}
    for node in reversed(nodes):
        if node in wanted and node in inside:
            wanted.update(node.all_input_nodes)
    for node in nodes:
        if node in wanted and (node.op == "get_attr" or node.op == "call_function" and node in inside):
            copies[node] = part.node_copy(node, copies.__getitem__)
    part.output([copies[x] for x in outputs])
    return part


def _expression(node: fx.Node) -> str:
    if node.target is operator.getitem:
        return f"{node.args[0].name}[{node.args[1]}]"
    schema = node.target._schema
    arguments = [f"{argument.name}={_literal(value)}" if argument.kwarg_only else _literal(value)
                 for argument, value in zip(schema.arguments, node.args)]
    arguments += [f"{name}={_literal(value)}" for name, value in node.kwargs.items()]
    return f"torch.ops.{schema.name.replace('::', '.')}({', '.join(arguments)})"


def _literal(value) -> str:
    if isinstance(value, fx.Node):
        return value.name
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    plain = (bool, int, float, complex, str, torch.dtype, torch.layout, torch.memory_format)
    if value is None or isinstance(value, plain):
        return repr(value)
    raise TraceError(f"an argument of type {type(value).__name__} cannot be part of a graph ({value})")
