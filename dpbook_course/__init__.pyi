# Where every name of `import dpbook_course as course` comes from: `__init__.py` reads this file.

# Its parts, whose modules need no import either: `course.problems.kuramoto_sivashinsky`, `course.studies.e04.unrolling`
from . import exercises as exercises
from . import problems as problems
from . import studies as studies
from . import web as web

# What was measured, and what it says of a claim
from .claims.claims import verdict as verdict
from .claims.claims import verdicts as verdicts
from .claims.findings import at_equal_time as at_equal_time
from .claims.findings import per_seed as per_seed
from .claims.seeds import band as band
from .claims.seeds import interval as interval
from .claims.seeds import ratio as ratio
from .claims.seeds import stacked as stacked
from .experiments import outcomes as outcomes
from .experiments.tasks import complete as complete
from .experiments.tasks import measured as measured

# Trained networks
from .weights.loading import load as load
from .weights.loading import trained as trained

# To play with
from .explorer import Playground as Playground
from .explorer import compare as compare
from .explorer import explore as explore
