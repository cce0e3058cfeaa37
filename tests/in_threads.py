"""Work that several threads do at once."""

import threading
from collections.abc import Callable, Iterable


def in_threads(work: Callable, arguments: Iterable[tuple]) -> None:
    """Call ``work(*each)`` for every entry, each in a thread of its own; returns when all have ended."""
    threads = [threading.Thread(target=work, args=each) for each in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
