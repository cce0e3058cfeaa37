"""Choose the folder in which executed chapters are kept.

The cache knows a chapter by its code cells only: a change of the package, of the stored results, of the
environment or of the mode would go unnoticed. So every combination of them has a folder of its own. Sphinx
sees the changed setting and reads all pages again.
"""

import hashlib
import shutil
from pathlib import Path

from dpbook_utils import settings

INPUTS = ("dpbook_utils/**/*", "results/**/*", "benchmarks/report.py", "requirements.txt", "_toc.yml")


def fingerprint(root: Path) -> str:
    """A hash of everything but the notebook itself that its outputs depend on."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in INPUTS for path in root.glob(pattern)):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def choose_folder(app, config) -> None:
    root = Path(app.srcdir)
    folder = root / ".cache" / "chapters" / f"{settings.mode()}-{fingerprint(root)}"
    for outdated in set(folder.parent.glob(f"{settings.mode()}-*")) - {folder}:
        shutil.rmtree(outdated)
    config.nb_execution_cache_path = str(folder)


def setup(app) -> dict:
    app.connect("config-inited", choose_folder)
    return {"parallel_read_safe": True}
