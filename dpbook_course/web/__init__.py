"""The page that trains: compositions exported to plain JavaScript, and what runs them in a browser."""

from .export import Library, export
from .operations import Unsupported
from .systems import systems, worker_source
from .trainer import Trainer, train

__all__ = ["Library", "Trainer", "Unsupported", "export", "systems", "train", "worker_source"]
