"""Training neural networks with differentiable physics: solvers, networks and the chains they form.

Import the modules, not this package: ``from dpbook_utils.physics.burgers import Burgers``. Importing
the package itself loads nothing heavy.
"""

__version__ = "0.1.0"
