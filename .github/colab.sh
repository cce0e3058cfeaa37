#!/usr/bin/env bash
# The chapters in Colab's image: its Python, torch and numpy, the package as `pip install` brings it, as a reader runs them.
set -euo pipefail

versions() { python3 -c 'from importlib.metadata import version as v; print("torch", v("torch"), "numpy", v("numpy"))'; }

before=$(versions)
pip install --quiet .
after=$(versions)
[ "$before" = "$after" ] || { echo "the package replaced $before by $after"; exit 1; }
echo "$after"

pip install --quiet nbval
# Away from the checkout, so that the installed package is the one that runs.
cp -r notebooks /tmp/notebooks && cd /tmp/notebooks
DPBOOK_MODE=full python3 -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=900 .
