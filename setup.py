"""Two packages, what a stranger's solver needs and the course that is built on it; all else is in pyproject.toml.

The chapters read results/ where only the packages are installed, on Colab: it becomes a part of the course.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["dpbook_utils*", "dpbook_course*"]), "dpbook_course.results"],
      package_dir={"dpbook_course.results": "results"})
