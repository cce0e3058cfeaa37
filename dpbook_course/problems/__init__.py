"""The problems, each an object with its solvers, data, network and metrics: ``course.problems.kuramoto_sivashinsky``.

``dir(course.problems)`` lists them. A new one is a class (``problem.Problem``) and a line in ``__init__.pyi``.
"""

from dpbook_utils.names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
