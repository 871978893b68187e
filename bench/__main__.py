"""``make bench``: one JSON line a figure (name, value, unit, size, compared_with), for a person to read.

``python -m bench NAME [OPTION …]`` runs ``bench/NAME.py``; ``python -m bench [small|medium]`` is short for ``nights``
of that world. Each uses an installation of its own in a temporary folder and leaves nothing behind. Times of one
machine are compared within one run only.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import sys
import tempfile
from pathlib import Path

import bench
from bench.worlds import WORLDS

NOT_RUN = ("__main__", "meter", "worlds")


def benchmarks() -> list[str]:
    """Names of the benchmarks: the modules of this folder that are one."""
    return sorted(info.name for info in pkgutil.iter_modules(bench.__path__) if info.name not in NOT_RUN)


def main() -> None:
    name, *options = sys.argv[1:] or ["nights"]
    if name in WORLDS:
        name, options = "nights", [name, *options]
    name = name.replace("-", "_")
    if name not in benchmarks():
        raise SystemExit(f"There is no benchmark {name!r}: there are {', '.join([*WORLDS, *benchmarks()])}.")
    home = Path(tempfile.mkdtemp(prefix="njb"))
    os.environ.update(NIGHTJAR_HOME=str(home), MLFLOW_TRACKING_URI=f"sqlite:///{home / 'mlflow.db'}")
    os.environ.pop("NIGHTJAR_SPARK", None)
    try:
        importlib.import_module(f"bench.{name}").bench(*options)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
