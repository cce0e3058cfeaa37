"""What a reader plays with: the live playground, and stored roll-outs on pages without a kernel."""

from .pairs import compare
from .playground import Playground
from .static import Explorer
from .views import explore

__all__ = ["Explorer", "Playground", "compare", "explore"]
