"""Networks against plain ``nn.Conv1d``/``nn.Conv2d``, and ensembles against separate trainings. float64 throughout."""

import copy
import math

import pytest
import torch
from torch import nn

from dpbook_utils.networks import PERIODIC, REPLICATE, ZERO, ConvResNet, Ensemble

LENGTHS = torch.tensor([40.0, 45.0, 50.0, 55.0, 60.0, 65.0], dtype=torch.float64)


def network(ndim=1, seed=0, **arguments):
    arguments = {"width": 4, "num_blocks": 2, "conditions": {"length": (50.0, 8.0)}, "output_scale": 1.0, **arguments}
    return ConvResNet(ndim, 1, 1, seed=seed, **arguments).double()


def state(ndim=1, batch=6, seed=0):
    return torch.randn(batch, 1, *(12, 8)[:ndim], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain_convolutions(network, mode):
    """The same weights in torch's own convolutions."""
    layers = []
    for layer in network.layers:
        if network.ndim == 1:
            weight, k = layer.weight[0].permute(2, 1, 0), layer.weight.shape[1]  # (out, in, k)
            conv = nn.Conv1d(weight.shape[1], weight.shape[0], k, padding=k // 2, padding_mode=mode)
        else:
            weight, k = layer.weight[0], layer.kernel_size
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], k, padding=k // 2, padding_mode=mode)
        conv = conv.double()
        conv.weight.data, conv.bias.data = weight.detach().clone(), layer.bias.detach().flatten().clone()
        layers.append(conv)
    return nn.ModuleList(layers)


def forward(convolutions, u, length):
    c = ((length - 50) / 8).view(-1, *[1] * (u.ndim - 1)).expand_as(u)
    first, *hidden, last = convolutions
    h = first(torch.cat([u, c], 1))
    for a, b in zip(hidden[::2], hidden[1::2]):
        h = h + b(a(h.tanh()).tanh())
    return last(h.tanh())


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("padding, mode", [(PERIODIC, "circular"), (REPLICATE, "replicate"), (ZERO, "zeros")], ids=repr)
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_equals_torch_convolutions(ndim, padding, mode, kernel_size):
    ours = network(ndim, padding=padding, kernel_size=kernel_size)
    for layer in ours.layers:
        nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(3))
    plain = plain_convolutions(ours, mode)
    u, v = state(ndim).requires_grad_(), state(ndim).requires_grad_()
    found, expected = ours(u, length=LENGTHS), forward(plain, v, LENGTHS)
    assert (found - expected).abs().max() < 1e-12
    found.square().sum().backward()
    expected.square().sum().backward()
    assert (u.grad - v.grad).abs().max() < 1e-12 * v.grad.abs().max()
    for ours_layer, plain_layer in zip(ours.layers, plain, strict=True):
        assert (ours_layer.bias.grad.flatten() - plain_layer.bias.grad).abs().max() < 1e-11
        assert abs(ours_layer.weight.grad.norm() / plain_layer.weight.grad.norm() - 1) < 1e-12


def test_mixed_padding_equals_each_axis_padded():
    ours = network(2, padding=(REPLICATE, PERIODIC), num_blocks=0, conditions=None)
    u = state(2)
    padded = nn.functional.pad(nn.functional.pad(u, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1), mode="replicate")
    h = nn.functional.conv2d(padded, ours.layers[0].weight[0], ours.layers[0].bias[0]).tanh()
    padded = nn.functional.pad(nn.functional.pad(h, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1), mode="replicate")
    expected = nn.functional.conv2d(padded, ours.layers[1].weight[0], ours.layers[1].bias[0])
    assert (ours(u) - expected).abs().max() < 1e-13


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("padding", [PERIODIC, REPLICATE, ZERO], ids=repr)
def test_derivatives_of_first_and_second_order(ndim, padding):
    ours, u = network(ndim, padding=padding, num_blocks=1), state(ndim, batch=2).requires_grad_()
    names = [name for name, _ in ours.named_parameters()]

    def call(u, *parameters):
        return torch.func.functional_call(ours, dict(zip(names, parameters)), (u,), {"length": LENGTHS[:2]})

    assert torch.autograd.gradcheck(call, (u, *ours.parameters()), fast_mode=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(call, (u, *ours.parameters()), fast_mode=True)


def test_function_transforms():
    ours, u = network(conditions=None), state(batch=2)
    expected = torch.autograd.functional.jacobian(ours, u)
    assert (torch.func.jacrev(ours)(u) - expected).abs().max() < 1e-13
    assert (torch.func.jacfwd(ours)(u) - expected).abs().max() < 1e-13


def test_periodic_network_commutes_with_shifts():
    ours, u = network(2), state(2)
    shifted = ours(u.roll((3, 2), (2, 3)), length=LENGTHS)
    assert (shifted - ours(u, length=LENGTHS).roll((3, 2), (2, 3))).abs().max() < 1e-13


def test_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    first, state_before = network(seed=5), torch.get_rng_state()
    torch.manual_seed(2)
    again, other = network(seed=5), network(seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state_before)


def test_untrained_corrector_is_close_to_the_identity():
    u = state(batch=64)
    small = ConvResNet(1, 1, 1, seed=0).double()(u).std()
    assert 1e-4 < small < 3e-2  # the documented scale of 0.01, times hidden values of order one


def test_condition_is_normalised():
    ours, u = network(), state()
    plain = copy.deepcopy(ours)
    plain.conditions = {"length": (0.0, 1.0)}
    assert torch.equal(ours(u, length=LENGTHS), plain(u, length=(LENGTHS - 50) / 8))
    assert torch.equal(ours(u, length=50.0), ours(u, length=torch.full((6,), 50.0, dtype=torch.float64)))
    assert ours.parameter_names == ("length",)


@pytest.mark.parametrize("call, message", [
    (lambda n: n(state()[:, 0], length=LENGTHS), "expected \\(batch, 1"),
    (lambda n: n(state()), "conditions \\[\\], built with \\['length'\\]"),
    (lambda n: n(state(), length=LENGTHS[:2]), "one value per sample"),
    (lambda n: n(state(), length=LENGTHS, viscosity=LENGTHS), "viscosity"),
    (lambda n: n(state(), length=float("nan")), "condition length is nan; give a finite number"),
    (lambda n: n(state(), length=LENGTHS / 0), "condition length contains NaN or infinity; check where it is computed"),
    (lambda n: Ensemble([n] * 4)(state(), length=LENGTHS), "divisible by 4"),
    (lambda n: Ensemble([n, network(width=8)]), "differ in more than their weights"),
    (lambda n: Ensemble([n, network(padding=ZERO)]), "differ in more than their weights"),
    (lambda n: Ensemble([]), "no networks"),
    (lambda n: ConvResNet(3, 1, 1), "ndim is 3; give a whole number of 1"),
    (lambda n: ConvResNet(1, 1, 1, kernel_size=4), "kernel_size is 4; give an odd number"),
    (lambda n: ConvResNet(2, 1, 1, padding=(PERIODIC,)), "one per axis"),
])
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(network())


def test_dtype_is_checked():
    with pytest.raises(TypeError, match="float32"):
        network()(state().float(), length=LENGTHS)
    with pytest.raises(TypeError, match=r"length is torch.float32 on cpu, the states are .*; use length\.to\(u\)"):
        network()(state(), length=LENGTHS.float())


@pytest.mark.parametrize("ndim", [1, 2])
def test_ensemble_equals_its_members(ndim):
    networks = [network(ndim, seed) for seed in range(3)]
    ensemble, u = Ensemble(networks), state(ndim)
    expected = torch.cat([n(u[2 * i:2 * i + 2], length=LENGTHS[2 * i:2 * i + 2]) for i, n in enumerate(networks)])
    assert (ensemble(u, length=LENGTHS) - expected).abs().max() < 1e-13
    assert torch.equal(ensemble.member(1)(u, length=LENGTHS), networks[1](u, length=LENGTHS))
    assert (ensemble.num_members, ensemble.member(1).num_members, ensemble.parameter_names) == (3, 1, ("length",))
    with pytest.raises(IndexError, match="member 3 of 3"):
        ensemble.member(3)


def train(network, u, target, lengths, num_updates=5, clip=0.5):
    """Adam with the gradient of each member clipped to the norm ``clip``, written out."""
    members, weights = network.num_members, list(network.parameters())
    first, second = [torch.zeros_like(p) for p in weights], [torch.zeros_like(p) for p in weights]
    for t in range(1, num_updates + 1):
        losses = (u + network(u, length=lengths) - target).square().unflatten(0, (members, -1)).flatten(1).mean(1)
        gradients = torch.autograd.grad(losses.sum(), weights)
        norms = sum(g.square().flatten(1).sum(1) for g in gradients).sqrt()
        assert (norms > clip).any(), "the clipping must act for the test to see it"
        with torch.no_grad():
            for p, g, m, v in zip(weights, gradients, first, second, strict=True):
                g = g * (clip / norms).clamp(max=1).view(-1, *[1] * (g.ndim - 1))
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g.square())
                p -= 1e-2 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return network


@pytest.mark.parametrize("ndim", [1, 2])
def test_ensemble_trains_like_separate_networks(ndim):
    u, target = state(ndim), 3 * state(ndim, seed=1)
    together = train(Ensemble([network(ndim, seed) for seed in range(3)]), u, target, LENGTHS)
    for seed in range(3):
        group = slice(2 * seed, 2 * seed + 2)
        alone = train(network(ndim, seed), u[group], target[group], LENGTHS[group])
        for a, b in zip(together.member(seed).parameters(), alone.parameters(), strict=True):
            assert (a - b).abs().max() < 1e-12


@pytest.mark.parametrize("ndim", [1, 2])
def test_a_nan_stays_in_its_member(ndim):
    ensemble, u = Ensemble([network(ndim, seed) for seed in range(3)]), state(ndim)
    u[2:4] = math.nan
    ensemble(u, length=LENGTHS).square().sum().backward()
    for p in ensemble.parameters():
        assert p.grad[[0, 2]].isfinite().all() and not p.grad[1].isfinite().any()
