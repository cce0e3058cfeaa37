"""A long computation that goes on for a fraction of a second at a time.

A notebook's kernel handles the click on a button between two cells, and never during one. What is to be stopped by a
button must therefore return to the kernel often. A loop that was written without regard to this (``training.fit``)
runs in a thread of its own, which moves only while the kernel waits for it: the two never run at the same time, so the
computation needs no locks, and a cell that is executed in between meets no half-made state.
"""

import threading
import time
from collections.abc import Callable

import torch


class Slices:
    """``function(pause)`` in slices; it calls ``pause()`` at each place where it may be held.

    torch's random numbers go on from slice to slice, whatever is drawn between them; outside, they stay as they were.

    Attributes:
        finished: True once the function has returned or raised.
    """

    def __init__(self, function: Callable[[Callable[[], None]], object]):
        self.finished = False
        self._function, self._result, self._error = function, None, None
        self._go, self._held = threading.Semaphore(0), threading.Semaphore(0)
        self._until, self._random_state = 0.0, torch.get_rng_state()
        # A daemon: a kernel that shuts down does not wait for a training that nobody continues.
        threading.Thread(target=self._run, name="training in slices", daemon=True).start()

    def advance(self, seconds: float) -> bool:
        """Let the function run until its first pause after so many seconds; True if it has finished."""
        if self.finished:
            return True
        outside = torch.get_rng_state()
        torch.set_rng_state(self._random_state)
        self._until = time.monotonic() + seconds
        self._go.release()
        self._held.acquire()
        self._random_state = torch.get_rng_state()
        torch.set_rng_state(outside)
        return self.finished

    @property
    def result(self):
        """What the function has returned. Raises what it raised, and RuntimeError before it has finished."""
        if not self.finished:
            raise RuntimeError("Slices: the function has not finished; call advance(seconds) until it returns True")
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._result = self._function(self._pause)
        except BaseException as error:  # to whoever asks for the result
            self._error = error
        self.finished = True
        self._held.release()

    def _pause(self) -> None:
        if time.monotonic() >= self._until:
            self._held.release()
            self._go.acquire()
