"""Experiments: what each claim of the course is tested with, one module per experiment."""
