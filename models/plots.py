"""Plots that go with a trained ranker: calibration, gain, importance, learning curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from models.rankers.ranker import Ranker

SAMPLE = 2000
"""Held-out rows on which importance is measured."""


def write(ranker: Ranker, held: pa.Table, folder: Path) -> dict[str, float]:
    """Write ``calibration.png``, ``gain.png``, ``importance.png`` and ``learning.png`` into ``folder``.

    Returns
    -------
    dict
        Importance of each input, the greatest first.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    label, pctr = held["label"].to_numpy(), ranker.score(held)["pctr"]
    _save(Figure(figsize=(5, 4)), folder / "calibration.png", _calibration, label, pctr)
    _save(Figure(figsize=(5, 4)), folder / "gain.png", _gain, label, pctr)
    every = max(1, held.num_rows // SAMPLE)
    importance = ranker.importance(held.take(pa.array(np.arange(0, held.num_rows, every))))
    importance = dict(sorted(importance.items(), key=lambda pair: (-pair[1], pair[0])))
    _save(Figure(figsize=(7, 6)), folder / "importance.png", _importance, importance)
    curves = ranker.facts["curves"]
    _save(Figure(figsize=(4 * len(curves), 3)), folder / "learning.png", _learning, curves, columns=len(curves))
    return importance


def _save(figure, path: Path, draw, *data, columns: int = 1) -> None:
    draw(figure.subplots(1, columns), *data)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _calibration(axes, label: np.ndarray, pctr: np.ndarray) -> None:
    parts = [p for p in np.array_split(np.argsort(pctr, kind="stable"), 10) if len(p)]
    predicted, observed = [pctr[p].mean() for p in parts], [label[p].mean() for p in parts]
    highest = max(*predicted, *observed)
    axes.plot([0, highest], [0, highest], color="0.7")
    axes.plot(predicted, observed, marker="o")
    axes.set(title="Calibration of pCTR, ten bins of equal size", xlabel="predicted", ylabel="observed")


def _gain(axes, label: np.ndarray, pctr: np.ndarray) -> None:
    found = np.cumsum(label[np.argsort(-pctr, kind="stable")]) / max(1, label.sum())
    axes.plot(np.linspace(0, 1, len(found)), found)
    axes.plot([0, 1], [0, 1], color="0.7")
    axes.set(title="Cumulative gain", xlabel="share of rows, best first", ylabel="share of positives")


def _importance(axes, importance: dict[str, float]) -> None:
    best = list(importance.items())[:20][::-1]
    axes.barh([name for name, _ in best], [share for _, share in best])
    axes.set(title="Importance for pCTR, 20 strongest inputs", xlabel="mean absolute change")


def _learning(axes, curves: dict[str, dict[str, list[float]]]) -> None:
    for at, (name, parts) in zip(np.atleast_1d(axes), curves.items(), strict=True):
        for part, values in parts.items():
            at.plot(np.arange(1, len(values) + 1), values, label=part)
        at.set(title=name, xlabel="round")
        at.legend()
