"""What holds values of its own, watched by its values.   Chapter: 00_solver_as_operator."""

import array

import numpy as np
import torch
from torch import Tensor

_COMPARED = 1024  # numbers of a tensor whose values are compared; of a larger one these many, spread over it


class Same:
    """An object as a key that equals only itself, whatever its own ``==`` says."""

    def __init__(self, value):
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other) -> bool:
        return isinstance(other, Same) and self.value is other.value


class TensorValues:
    def __init__(self, value: Tensor):
        self.value, self.state, self.seen = value, _state(value), None
        if not value.requires_grad and value.device.type == "cpu" and value.layout is torch.strided:
            self.seen = _sample(value).clone()
        self.key = (Tensor, Same(value), self.state, None if self.seen is None else _bytes(self.seen))

    def unchanged(self) -> bool:
        if _state(self.value) != self.state:
            return False
        if self.seen is None:
            return True
        now = _sample(self.value)
        return torch.equal(now, self.seen) or _bytes(now) == _bytes(self.seen)  # NaN differs from itself


class ArrayValues:
    def __init__(self, value: np.ndarray):
        self.value, self.seen = value, value.tobytes()
        self.key = (value.shape, value.dtype.str, self.seen)

    def unchanged(self) -> bool:
        return (self.value.shape, self.value.dtype.str) == self.key[:2] and self.value.tobytes() == self.seen


class BufferValues:
    def __init__(self, value: bytearray | array.array):
        self.value, self.seen = value, bytes(value)
        self.key = (type(value), self.seen)

    def unchanged(self) -> bool:
        return bytes(self.value) == self.seen


# What holds numbers of its own, and what watches them.
VALUES = {np.ndarray: ArrayValues, bytearray: BufferValues, array.array: BufferValues}


def kind_of(value) -> type:
    return next(kind for kind in VALUES if isinstance(value, kind))


def version(value: Tensor) -> int | None:
    """How often PyTorch has seen the tensor changed in place. Inference tensors do not say: None."""
    return None if value.is_inference() else value._version


def _state(value: Tensor) -> tuple:
    if value.requires_grad:
        return True, value.shape, value.dtype, value.device
    return False, version(value), value.data_ptr() if value.layout is torch.strided else None, value.shape


def _sample(value: Tensor) -> Tensor:
    value = value.detach()
    if value.numel() <= _COMPARED or value.is_inference():  # of an inference tensor the version does not help
        return value
    return value.reshape(-1)[::value.numel() // _COMPARED]


def _bytes(value: Tensor) -> bytes:
    return value.resolve_conj().resolve_neg().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
