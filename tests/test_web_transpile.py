"""Recorded operations as loops in JavaScript, against torch in double precision."""

import javascript
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from dpbook_course.web import Library, Unsupported
from dpbook_course.web.bundle import as_json, runtime


def numbers(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, Y, A, B = numbers(3, 4, 6), numbers(3, 4, 6, seed=1), numbers(2, 6, 5, seed=2), numbers(2, 5, 3, seed=3)
IMAGE, WEIGHT, GRADIENT = numbers(2, 3, 5, 6, seed=8), numbers(4, 3, 3, 3, seed=9), numbers(2, 4, 3, 4, seed=10)
PLACES = torch.tanh(numbers(2, 4, 3, 2, seed=11)) * 1.3  # some of them outside
ROW, MATRIX, BIAS = numbers(6, seed=4), numbers(6, 6, seed=5), numbers(1, 1, 3, seed=6)
LONG = torch.arange(6, dtype=torch.float64)
INDEX = torch.tensor([[0, 2, 1], [1, 1, -1]])


def convolution_back(gradient, u, weight, bias_sizes):
    layout = [1, 1], [0, 0], [1, 1], False, [0, 0], 1
    return torch.ops.aten.convolution_backward(gradient, u, weight, bias_sizes, *layout, [True, True, True])


def grid_sample(u, places):
    return nn.functional.grid_sample(u, places, padding_mode="border", align_corners=True)


def slices_back(x, y):
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        padded = torch.cat([x[:, -1:], x, x[:, :1]], 1)
        value = torch.cat([padded[..., 1:], padded[..., :1].tanh()], 2)[:, 1:-1] * y + x[1] * x[..., ::2].sum()
        return [torch.autograd.grad(value, x, y)[0]]


CASES = {
    "arithmetic": (lambda x, y: [2 * x - y / 3 + x * y, 1 - x, torch.add(x, y, alpha=-2), torch.sub(x, y, alpha=3)],
                   X, Y),
    "functions": (lambda x: [x.tanh(), x.exp(), x.abs().sqrt(), x.square(), x.sigmoid(), x.pow(3), 1 / x, -x,
                             2.0 ** x, x.abs() ** 1.7], X),
    "comparisons": (lambda x, y: [torch.where(x > y, x, y), torch.where(x <= 0, 0.0, y), x.clamp(-0.5, 0.5),
                                  torch.maximum(x, y), torch.minimum(x, y), x.clamp(min=0.0)], X, Y),
    "broadcasting": (lambda x, row: [x + row, x * row[:, None][:4], (x + row).sum(1, keepdim=True) * x], X, ROW),
    "views": (lambda x: [x.permute(2, 0, 1), x.transpose(0, 1)[1], x[:, 1:, ::2], x[:, -2], x.view(12, 6)[3:7],
                         x.permute(2, 0, 1).reshape(6, 12) + 1, x[:, :1].expand(3, 4, 6), x.unsqueeze(1).squeeze(1),
                         x.transpose(1, 2).reshape(3, 2, 12), torch.stack(x.unbind(1), 0)], X),
    "a view of a sum": (lambda x, y: [(x + y).permute(2, 1, 0).reshape(-1), (x * y)[:, 1]], X, Y),
    "concatenation": (lambda x, y: [torch.cat([x, y], 1), torch.cat([x[..., -1:], x.tanh(), x[..., :1]], -1)], X, Y),
    "reductions": (lambda x: [x.sum(), x.sum(1), x.mean((0, 2)), x.tanh().sum(2, keepdim=True), x.mean(),
                              (x + 1).sum((0, 1))], X),
    "products": (lambda a, b: [a @ b, b.mT @ a.mT, torch.baddbmm(BIAS, a, b), a[0] @ b[0],
                               torch.addmm(BIAS[0, 0], a[1], b[1]), (a + 1) @ b.tanh()], A, B),
    "state times matrix": (lambda x, m: [x @ m, (x * x) @ m.T], X, MATRIX),
    "constants": (lambda x: [x + LONG, x * torch.ones(6, dtype=torch.float64), torch.zeros_like(x) + 2,
                             x @ MATRIX, x.new_full((6,), 3.0)], X),
    "one value, many uses": (lambda x: [x.tanh() * x.tanh() + (x + 1).exp() / (x + 1)], X),
    "whole numbers": (lambda x: [(3 * x).floor().to(torch.int32).to(torch.int64) % 4, (2 * x).to(torch.int64) * 1.0,
                                 x % 0.75, (3 * x) % LONG[1:].mean()], X),
    "least and largest": (lambda x: [x.min(1).values, x.max(-1, keepdim=True).values, x.min(0).values.max(0).values],
                          X),
    "flips": (lambda x: [x.flip(-1), x.flip((0, 1)) + x, x.flip(1)[:, 1:].tanh()], X),
    "an index": (lambda x: [x[INDEX[0]], x[INDEX, 1 - INDEX], (2 * x)[INDEX[:, :1], INDEX]], X),
    "a convolution": (lambda u, w, bias: [conv2d(u, w, bias), conv2d(u.tanh(), w, bias).tanh(), conv2d(u, w[:1])],
                      IMAGE, WEIGHT, ROW[:4]),
    "a convolution back": (lambda g, u, w, bias: [*convolution_back(g, u, w, [4]), *convolution_back(-g, u, w, [4])],
                           GRADIENT, IMAGE, WEIGHT, ROW[:4]),
    "a look-up": (lambda u, p: [grid_sample(u, p), grid_sample(u, p.flip(-1)[:, :2])], IMAGE, PLACES),
    "a look-up back": (lambda g, u, p: list(torch.ops.aten.grid_sampler_2d_backward(g, u, p, 0, 1, True, [True, True])),
                       numbers(2, 3, 4, 3, seed=12), IMAGE, PLACES),
    "sums of slices' gradients": (slices_back, X, Y),
    "an input as output": (lambda x, y: [x, y[1], x], X, Y),
}


def program(library, function, inputs, first=None):
    names = [f"x{i}" for i in range(len(inputs))]
    results = function(*inputs)
    outputs = [f"y{i}" for i in range(len(results))]
    sizes = {name: x.numel() for name, x in zip([*names, *outputs], [*inputs, *results])}
    return {"program": library.program(function, dict(zip(names, inputs)), outputs, first), "sizes": sizes,
            "inputs": [x.flatten().tolist() for x in inputs], "outputs": outputs}


RUN = """
function evaluated({program, sizes, inputs, outputs}) {
  const memory = new Memory(KERNELS, constants, Float64Array), places = {};
  for (const name in sizes) places[name] = memory.place(sizes[name]);
  places.scratch = memory.place(program.scratch);
  places.kept = memory.place(program.kept);
  memory.create();
  memory.view(memory.constantsAt + constants.length, memory.size - constants.length).fill(NaN);
  inputs.forEach((values, i) => memory.view(places[`x${i}`], values.length).set(values));
  memory.bind(program, "first", places)();
  memory.view(places.scratch, program.scratch).fill(NaN); // nothing but what is kept may be needed
  if (program.second.length) memory.bind(program, "second", places)();
  return outputs.map(name => [...memory.view(places[name], sizes[name])]);
}
"""


def evaluated(library, programs):
    """Outputs of each program, run in double precision: {name: [list of numbers]}."""
    return javascript.run(runtime(library), f"const PROGRAMS = {as_json(programs)};", RUN,
                          constants=library.constants.values,
                          result="Object.fromEntries(Object.entries(PROGRAMS).map(([n, p]) => [n, evaluated(p)]))")


def assert_agree(expected, found, tolerance=1e-13):
    for e, f in zip(expected, found, strict=True):
        f = torch.tensor(f, dtype=torch.float64).reshape(e.shape)
        assert (e - f).abs().max() <= tolerance * e.abs().max()


@pytest.fixture(scope="module")
def found():
    library = Library()
    return evaluated(library, {name: program(library, f, inputs) for name, (f, *inputs) in CASES.items()})


@pytest.mark.parametrize("name", CASES)
def test_operations(found, name):
    function, *inputs = CASES[name]
    assert_agree(function(*inputs), found[name])


def test_gradients_in_two_parts():
    """The second part has only what the first one kept: the scratch memory is destroyed in between."""
    layer = nn.Linear(6, 5).double()
    weights = list(layer.parameters())

    def joint(g, x, *_):
        x = x.detach().requires_grad_()
        value = layer(x).tanh() * x[..., 1:] + torch.cat([x[..., :2], x[..., 3:]], -1).sigmoid()
        return [value.detach(), *torch.autograd.grad(value, [x, *weights], g)]

    inputs = [numbers(3, 4, 5, seed=7), X.clone(), *weights]
    library = Library()
    made = library.traced(joint, inputs, [(f"x{i}", 0) for i in range(4)], [(f"y{i}", 0) for i in range(4)], first=1)
    expected = joint(*inputs)
    sizes = {f"x{i}": x.numel() for i, x in enumerate(inputs)} | {f"y{i}": x.numel() for i, x in enumerate(expected)}
    case = {"program": made, "sizes": sizes, "inputs": [x.flatten().tolist() for x in inputs],
            "outputs": [f"y{i}" for i in range(4)]}
    assert made["kept"] > 0
    assert_agree(expected, evaluated(library, {"case": case})["case"])


def test_memory_is_used_again():
    def long(x):
        for _ in range(20):
            x = (x @ MATRIX).tanh()
        return [x]

    made = program(Library(), long, [X])["program"]
    assert made["scratch"] <= 3 * X.numel() and made["kept"] == 0


def test_equal_operations_share_their_kernel():
    library = Library()
    first = program(library, CASES["products"][0], [A, B])
    number = len(library.kernels.texts)
    assert program(library, CASES["products"][0], [A, B]) == first
    assert len(library.kernels.texts) == number


@pytest.mark.parametrize("function, named", [
    (lambda x: [torch.fft.fft(x).real], "fft"), (lambda x: [x.cumsum(1)], "cumsum"),
    (lambda x: [x.sort().values], "sort"), (lambda x: [x.sin()], "sin")])
def test_an_unknown_operation_names_itself(function, named):
    with pytest.raises(Unsupported, match=named):
        program(Library(), function, [X])
