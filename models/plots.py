"""Plots that go with a trained ranker: calibration, gain, importance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from models.rankers.xgb import XgbRanker


def write(ranker: XgbRanker, held: pa.Table, folder: Path) -> None:
    """Write ``calibration.png``, ``gain.png`` and ``importance.png`` into ``folder``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    label, pctr = held["label"].to_numpy(), ranker.score(held)["pctr"]
    _save(Figure(figsize=(5, 4)), folder / "calibration.png", _calibration, label, pctr)
    _save(Figure(figsize=(5, 4)), folder / "gain.png", _gain, label, pctr)
    _save(Figure(figsize=(7, 6)), folder / "importance.png", _importance, ranker)


def _save(figure, path: Path, draw, *data) -> None:
    draw(figure.subplots(), *data)
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


def _importance(axes, ranker: XgbRanker) -> None:
    gains = ranker.boosters["ctr"].get_score(importance_type="total_gain")
    best = sorted(gains.items(), key=lambda pair: pair[1])[-20:]
    axes.barh([name for name, _ in best], [gain for _, gain in best])
    axes.set(title="Total gain of the pCTR head, 20 strongest features")
