"""What the course measures: specifications, the runner, stored results, and how often random outcomes hold."""

from dpbook_utils.names import attach

__getattr__, __dir__, __all__ = attach(__name__, modules=["outcomes", "results", "runner", "spec", "tasks"])
