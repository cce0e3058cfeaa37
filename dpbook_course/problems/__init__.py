"""The problems, each an object with its solvers, data, network and metrics: ``course.problems.kuramoto_sivashinsky``.

``dir(course.problems)`` lists them. A new one is a class (``problem.Problem``) and a line in ``__init__.pyi``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
