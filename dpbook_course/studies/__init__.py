"""One folder per experiment, with everything about it: ``course.studies.e04.unrolling``."""

from pkgutil import iter_modules

from dpbook_utils.names import attach

__getattr__, __dir__, __all__ = attach(__name__, modules=[module.name for module in iter_modules(__path__)])
