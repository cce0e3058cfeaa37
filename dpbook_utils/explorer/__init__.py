"""What a reader plays with: the live playground."""

from .playground import Playground

__all__ = ["Playground"]
