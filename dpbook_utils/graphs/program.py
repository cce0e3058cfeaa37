"""A graph run without autograd, and a graph of values and gradients in two passes.   Chapter: 00_solver_as_operator."""

import torch
from torch import Tensor, fx

from .graph import Graph
from .lowering import lower
from .operations import source
from .plan import Plan
from .simplify import is_pure, own_outputs, storage, written_storages
from .table import Table


class Program:
    """A graph as one function, run without autograd: ``(*placeholders) -> [tensors]``.

    Inputs may have any strides: they are brought into those that the graph was recorded with.

    Args:
        owned: so many outputs, from the first on, share memory with nothing, for the caller to write to; None for all.
        table: of operations that machine code does; None: each is a call of torch.
    """

    def __init__(self, graph: fx.Graph, constants: dict[str, Tensor], owned: int | None = None,
                 table: Table | None = None):
        graph, constants = copy_graph(graph), dict(constants)
        own_outputs(graph, owned)
        lower(graph, constants, exact=table is None or table.exact)
        self.run = Plan(graph, constants, table)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self(*inputs)
        if torch.is_autocast_enabled(inputs[0].device.type):
            with torch.autocast(inputs[0].device.type, enabled=False):  # the recorded precision is meant
                return self(*inputs)
        return self.run(*inputs)


def copy_graph(graph: fx.Graph) -> fx.Graph:
    copied = fx.Graph()
    output = copied.graph_copy(graph, {})
    copied.output(output)
    return copied


def whole(graph: Graph, device: torch.device) -> Program:
    """All of a graph, as machine code as far as values stay bit for bit the graph's."""
    return Program(graph.fx, graph.constants, table=Table.on(device, exact=True))


def split(joint: Graph, device: torch.device) -> tuple[Program, Program]:
    """A graph ``(g, *inputs) -> [value, *gradients]`` in two: ``(*inputs) -> [value, *kept]`` and
    ``(g, *kept) -> gradients``.

    What does not depend on the cotangent g and is needed for the gradients is kept. Values are those of ``whole``.
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
    # A view is made again from what it looks at: the passes then share memory in one layout.
    views, kept = set(), {}
    for x in needed:
        while x not in backward and (looked_at := source(x)) is not None:
            views.add(x)
            x = looked_at
        if x not in backward and x.op != "get_attr":
            kept[x] = None
    forward = _part(nodes, set(nodes) - backward, inputs, [value, *kept])
    tables = [Table.on(device, exact=True) for _ in range(2)]
    return (Program(forward, joint.constants, owned=1, table=tables[0]),
            Program(_part(nodes, backward | views, [g, *kept], gradients), joint.constants, table=tables[1]))


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
