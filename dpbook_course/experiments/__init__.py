"""What the course measures: specifications, the runner, stored results, and how often random outcomes hold."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["outcomes", "results", "runner", "spec", "tasks"])
