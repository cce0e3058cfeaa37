# Where every problem comes from: `__init__.py` reads this file.

from . import inversion as inversion
from . import letter as letter
from . import reconstruction as reconstruction
from . import restarts as restarts
from . import rod as rod
from . import steps as steps
from . import taught as taught
from . import wake_flow as wake_flow
from . import wake_metrics as wake_metrics
from .coarse import coarse_burgers as coarse_burgers
from .control import burgers_control as burgers_control
from .forced import forced_burgers as forced_burgers
from .frames import ks_history as ks_history
from .ks import kuramoto_sivashinsky as kuramoto_sivashinsky
from .parametric import parametric_burgers as parametric_burgers
from .periodic import periodic_waves as periodic_waves
from .schemes import burgers_schemes as burgers_schemes
from .schemes import ks_schemes as ks_schemes
from .shifts import burgers_shifts as burgers_shifts
from .shifts import ks_shifts as ks_shifts
from .solves import ks_solves as ks_solves
