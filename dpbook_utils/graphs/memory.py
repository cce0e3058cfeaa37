"""Memory for what lives inside a graph, shared by all plans.   Chapter: 00_solver_as_operator."""

import threading
from collections import defaultdict

import torch
from torch import Tensor

ALIGNMENT = 64  # bytes: a cache line


class Arenas:
    """Blocks of memory that no call works in. A thread takes one, or makes a larger one, and brings it back."""

    def __init__(self):
        self.free, self.lock = defaultdict(list), threading.Lock()

    def take(self, num_bytes: int, device: torch.device) -> Tensor:
        with self.lock:
            free = self.free[_place(device)]
            while free:
                memory = free.pop()
                if memory.numel() >= num_bytes:
                    return memory  # those that are too small are given up: the next one serves their plans as well
        size = 1 << max(16, (num_bytes - 1).bit_length())  # powers of two: few sizes are ever made
        with torch.inference_mode(False):
            memory = torch.empty(size + ALIGNMENT, dtype=torch.uint8, device=device)
            return memory[-memory.data_ptr() % ALIGNMENT:][:size]

    def bring_back(self, memory: Tensor) -> None:
        with self.lock:
            self.free[_place(memory.device)].append(memory)


def _place(device: torch.device) -> tuple:
    """What works one call after another: a CPU's memory serves one call at a time, a GPU's one stream."""
    return device, torch.cuda.current_stream(device) if device.type == "cuda" else None


arenas = Arenas()
