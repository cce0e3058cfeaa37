# Where every name of `import dpbook_utils as dp` comes from, by its place in a chain: `__init__.py` reads this file,
# and the book's page of names, `book/api.md`, has the same groups.

# Solvers: one step of physics, written in PhiFlow and traced once
from .physics.solver import Solver as Solver
from .physics.burgers import Burgers as Burgers
from .physics.advection_diffusion import AdvectionDiffusion as AdvectionDiffusion
from .physics.kuramoto_sivashinsky import KuramotoSivashinsky as KuramotoSivashinsky
from .physics.spectral import SpectralBurgers as SpectralBurgers
from .physics.semi_implicit import SemiImplicitKuramotoSivashinsky as SemiImplicitKuramotoSivashinsky
from .physics.iterative import IterativeKuramotoSivashinsky as IterativeKuramotoSivashinsky
from .physics.navier_stokes import NavierStokes as NavierStokes
from .physics.smoke import Smoke as Smoke
from .physics.wake import Wake as Wake
from .physics.advection import central as central
from .physics.advection import upwind as upwind
from .physics.advection import semi_lagrangian as semi_lagrangian
from .physics.advection import interpolated as interpolated
from .physics.limited import limited as limited
from .physics.limited import Limited as Limited
from .physics.kuramoto_sivashinsky import etd1 as etd1
from .physics.kuramoto_sivashinsky import etdrk2 as etdrk2
from .physics.trace import trace as trace
from .physics.trace import TraceError as TraceError

# Foreign solvers: steps that torch does not know, and where their gradient comes from
from .bridges import from_jax as from_jax
from .bridges import from_numpy as from_numpy
from .bridges import black_box as black_box
from .foreign import ForeignError as ForeignError
from .estimates import FiniteDifferences as FiniteDifferences
from .estimates import Simultaneous as Simultaneous
from .estimates import EvolutionStrategies as EvolutionStrategies
from .estimates import Surrogate as Surrogate

# Networks, and how what they give enters the state
from .networks import ConvResNet as ConvResNet
from .networks import Ensemble as Ensemble
from .networks import PERIODIC as PERIODIC
from .networks import REPLICATE as REPLICATE
from .networks import ZERO as ZERO
from .coupling import Additive as Additive
from .coupling import AdditiveRHS as AdditiveRHS
from .coupling import Multiplicative as Multiplicative
from .coupling import Replace as Replace
from .coupling import SolverParameter as SolverParameter
from .coupling import Coupling as Coupling

# The chain in time: its order, its noise, and where the backward pass is cut
from .rollout import Sequential as Sequential
from .rollout import repeat as repeat
from .rollout import Rollout as Rollout
from .gradients import FullGradient as FullGradient
from .gradients import Truncated as Truncated
from .gradients import NoSolverGradient as NoSolverGradient
from .gradients import Pushforward as Pushforward
from .gradients import PhysicsPath as PhysicsPath
from .noise import GaussianNoise as GaussianNoise
from .noise import RandomWalkNoise as RandomWalkNoise
from .noise import ShapedNoise as ShapedNoise

# The loss: where states are compared, with what, and by which measure
from .objectives import Objective as Objective
from .objectives import NoGradientPath as NoGradientPath
from .objectives import from_batch as from_batch
from .objectives import from_input as from_input
from .objectives import from_solver as from_solver
from .losses import TrajectoryLoss as TrajectoryLoss
from .losses import every_step as every_step
from .losses import final_step as final_step
from .losses import at_steps as at_steps
from .losses import mse as mse

# Data: where batches come from
from .data.initial import random_fourier as random_fourier
from .data.initial import random_velocity as random_velocity
from .data.trajectories import simulate as simulate
from .data.trajectories import cell_averages as cell_averages
from .data.trajectories import Windows as Windows
from .data.sampling import Sampler as Sampler
from .data.fresh import Fresh as Fresh
from .data.stored import store as store
from .data.stored import Stored as Stored
from .noise import Perturbed as Perturbed

# Training
from .training import fit as fit
from .history import History as History
from .history import Diverged as Diverged
from .setups import Setup as Setup
from .setups import train as train
from .setups import warm_up as warm_up
from .settings import choose as choose
from .settings import reproducible as reproducible

# Updates that use the whole Jacobian of the residuals
from .least_squares import Residuals as Residuals
from .least_squares import jacobian as jacobian
from .least_squares import GaussNewton as GaussNewton
from .least_squares import LevenbergMarquardt as LevenbergMarquardt
from .least_squares import HalfInverse as HalfInverse
from .least_squares import NoUpdate as NoUpdate

# Judging what was trained
from .evaluation import predict as predict
from .evaluation import relative_l2 as relative_l2
from .evaluation import correlation as correlation
from .evaluation import time_to_decorrelation as time_to_decorrelation
from .evaluation import blow_up_step as blow_up_step
from .evaluation import survival as survival
from .evaluation import energy_spectrum as energy_spectrum
from .diagnostics import gradient_check as gradient_check
from .diagnostics import gradient_growth as gradient_growth
from .diagnostics import lyapunov_exponents as lyapunov_exponents

# Figures
from . import figures as figures
