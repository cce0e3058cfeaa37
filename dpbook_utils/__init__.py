"""Training neural networks with differentiable physics: solvers, networks and the chains they form.

    import dpbook_utils as dp

    solver = dp.trace(dp.Burgers(64, length=1.0, dt=0.01), u0, viscosity=nu)

``dir(dp)`` lists the names, ``__init__.pyi`` says where each comes from. A module is imported when one of its names is
first used: ``import dpbook_utils`` itself loads neither torch nor PhiFlow.
"""

from .names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
__version__ = "0.1.0"
