"""The engine of the runner: ``dask.distributed``, on this machine or anywhere."""

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator

import dask
from distributed import Client, LocalCluster, Worker, WorkerPlugin

PATIENCE = 10.0  # to reach a scheduler [s]
# Dask's own settings are for tables: it looks at the stack a hundred times a second, and has every 64 KiB that are free
# given back to the system. A training, which takes them again at once, is slowed down by both.
FOR_TRAININGS = {"distributed.worker.profile.enabled": False,
                 "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}


class Undisturbed(WorkerPlugin):
    """Ctrl-C in a terminal reaches every process; what to do about it is the client's decision."""

    def setup(self, worker: Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def connect(scheduler: str | None) -> Iterator[Client]:
    """A client of the scheduler at an address, or of a cluster of one process per core that ends with it.

    Raises: ConnectionError for an address at which no scheduler answers.
    """
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise ConnectionError(error) from error
        with client:
            if not client.nthreads():
                print(f"The scheduler at {scheduler} has no workers yet; waiting for some.", file=sys.stderr)
            yield client
        return
    # One thread each: dask sets OMP_NUM_THREADS and its likes to 1 there. The runner reports failures itself: no log.
    with (dask.config.set(FOR_TRAININGS),
          LocalCluster(threads_per_worker=1, memory_limit=0, dashboard_address=":0",
                       silence_logs=logging.CRITICAL) as cluster, Client(cluster) as client):
        client.register_plugin(Undisturbed())
        yield client
