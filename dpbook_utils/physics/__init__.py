"""Solvers, written once in PhiFlow. The only place that imports ``phi``."""
