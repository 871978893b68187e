"""What neural rankers share: the backend, inputs as tensors, the loop that fits, and files.

Keras 3 on JAX. A module declares how its heads are computed from the inputs; all else is here. A saved ranker holds
``weights.npz`` (arrays in the order of the model's weights), ``scaling.npz``, ``calibration.json`` and ``ranker.json``.

Training holds at most two shuffle windows of rows (``shuffle_rows``), the validation rows, and the weights with the
two moments of Adam: with the defaults some 150 MB besides the libraries' 600 MB, and besides ``train`` where that
is a table and no files.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.contract import make_params
from jobs.errors import ContractError
from models.rankers.groups import Groups, Reweighing
from models.rankers.ranker import PROBABILITIES, CannotGoOn, Ranker, check_labels, has_both, satisfied
from models.rankers.rows import (
    Columns,
    Stream,
    batches,
    feature_matrix,
    hashed,
    numbers,
    row_weights,
    sequences,
    shuffled,
)

SCORED_AT_ONCE = 8192


@dataclass(frozen=True)
class DeepParams:
    """Size and training of a neural ranker.

    Parameters
    ----------
    buckets, width
        Hash buckets of each kind of key, and numbers of an embedding.
    layers
        Widths of the dense layers of a tower.
    learning_rate, dropout, batch
        Of Adam; share of units dropped; rows a step.
    epochs, patience
        At most so many passes; stops after ``patience`` without a better loss on the validation rows.
    shuffle_rows
        Rows that are shuffled together, and so the rows held in memory.
    length
        Items of a sequence that are read.
    min_conversions
        With fewer, no pCVR head; with fewer clicks of known length, no dwell head, and so for satisfied clicks.
    group_feature, group_edges, reweigh, calibrate_groups
        As of ``models.rankers.xgb``.
    """

    buckets: int = 32_768
    width: int = 8
    layers: tuple[int, ...] = (64, 32)
    learning_rate: float = 0.002
    dropout: float = 0.0
    batch: int = 1024
    epochs: int = 8
    patience: int = 2
    shuffle_rows: int = 131_072
    length: int = 20
    min_conversions: int = 200
    threads: int = 2
    seed: int = 7
    group_feature: str = ""
    group_edges: tuple[float, ...] = ()
    reweigh: bool = False
    calibrate_groups: bool = False

    @property
    def groups(self) -> Groups:
        return Groups(self.group_feature, self.group_edges)


def keras(threads: int = 2) -> Any:
    """Keras on JAX with a bounded number of threads; the one place that imports it.

    XLA takes its threads from the environment when it starts, so the first call of a process decides.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    eigen = "true" if threads > 1 else "false"
    os.environ.setdefault("XLA_FLAGS", f"--xla_cpu_multi_thread_eigen={eigen} --xla_force_host_platform_device_count=1")
    os.environ.setdefault("NPROC", str(threads))
    import keras as library

    if library.backend.backend() != "jax":
        raise ContractError(
            f"Keras runs on {library.backend.backend()} in this process: unset KERAS_BACKEND, rankers need jax."
        )
    return library


@dataclass(frozen=True)
class Scaling:
    """How a number becomes an input: sign(x) log(1 + |x|), less the mean, by the deviation; unknown is the mean."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, train: Stream, features: tuple[str, ...]) -> Scaling:
        """Mean and deviation of the known values, in one pass."""
        count, total, squares = (np.zeros(len(features)) for _ in range(3))
        for batch in batches(train):
            values = squashed(feature_matrix(batch, features)).astype(np.float64)
            known = np.isfinite(values)
            values = np.where(known, values, 0)
            count += known.sum(axis=0)
            total += values.sum(axis=0)
            squares += (values**2).sum(axis=0)
        mean = total / np.maximum(count, 1)
        spread = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
        return cls(mean, np.where(spread > 1e-6, spread, 1.0))

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        """float32, shape ``(rows, 2 * features)``: the scaled values, then 1 where unknown."""
        values = (squashed(matrix) - self.mean) / self.deviation
        unknown = ~np.isfinite(values)
        return np.hstack([np.where(unknown, 0, np.clip(values, -8, 8)), unknown]).astype(np.float32)


def squashed(matrix: np.ndarray) -> np.ndarray:
    return np.sign(matrix) * np.log1p(np.abs(matrix))


@dataclass
class DeepRanker(Ranker):
    """A fitted network with its scaling.

    ``tasks`` are the heads that it has where the data supports them, ``takes`` its kind of parameters.
    """

    tasks = ("pctr", "pcvr", "dwell")
    takes = DeepParams

    params: DeepParams = field(default_factory=DeepParams)
    scaling: Scaling | None = None
    network: Any = None
    fitted_heads: tuple[str, ...] = ()

    @classmethod
    @abstractmethod
    def outputs(cls, inputs: dict[str, Any], heads: tuple[str, ...], params: Any) -> dict[str, Any]:
        """The heads as tensors of shape ``(rows,)``: probabilities, and ``dwell`` as log(1 + seconds)."""

    @classmethod
    def goals(cls, labels: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What each head is held against, and the weight of each row in it, from the labels of the rows."""
        every = labels["weight"]
        timed = (labels["dwell_ms"] > 0).astype(np.float32)
        return {
            "pctr": (labels["label"], every),
            "pcvr": (labels["converted"], every),
            "satisfaction": (labels["satisfied"], every),
            "dwell": (np.log1p(labels["dwell_ms"] / 1000).astype(np.float32), timed),
        }

    @property
    def heads(self) -> tuple[str, ...]:
        return self.fitted_heads

    def tensors(self, columns: Columns) -> dict[str, np.ndarray]:
        """Rows as the network reads them."""
        spec, buckets = self.spec, self.params.buckets
        made = {"numbers": self.scaling(feature_matrix(columns, self.features))}
        for name in spec.ids:
            made[name] = hashed(numbers(columns, name, np.int64), buckets, salt(name))
        for name in spec.sequences:
            ids, present = sequences(columns, name, self.params.length)
            # the items of a sequence are items: they share buckets and embeddings with item_id
            made[name] = np.where(present, hashed(ids, buckets, salt("item_id")), 0).astype(np.int32)
        return made

    def build(self) -> None:
        """Make the network with fresh weights from the seed."""
        library = keras(self.params.threads)
        library.utils.set_random_seed(self.params.seed)
        inputs = {"numbers": library.Input((2 * len(self.features),), name="numbers")}
        inputs |= {name: library.Input((), dtype="int32", name=name) for name in self.spec.ids}
        length = self.params.length
        inputs |= {name: library.Input((length,), dtype="int32", name=name) for name in self.spec.sequences}
        self.network = library.Model(inputs, self.outputs(inputs, self.heads, self.params))

    def raw(self, columns: Columns) -> dict[str, np.ndarray]:
        tensors = self.tensors(columns)
        rows = len(tensors["numbers"])
        parts: list[dict[str, np.ndarray]] = []
        # one size of batch, so that XLA compiles once: powers of two, the last one filled up with zeros
        size = min(SCORED_AT_ONCE, 1 << max(rows - 1, 0).bit_length())
        for at in range(0, rows, size):
            part = {name: _filled(values[at : at + size], size) for name, values in tensors.items()}
            parts.append({head: np.asarray(v) for head, v in self.network.predict_on_batch(part).items()})
        made = {h: np.concatenate([p[h] for p in parts])[:rows].astype(np.float64) for h in self.heads}
        if "dwell" in made:
            made["dwell"] = np.expm1(made["dwell"])
        return made

    def save_weights(self, folder: Path) -> None:
        weights = {f"{n:03d}": w for n, w in enumerate(weights_of(self.network))}
        np.savez(folder / "weights.npz", **weights)
        np.savez(folder / "scaling.npz", mean=self.scaling.mean, deviation=self.scaling.deviation)

    @classmethod
    def load_weights(cls, folder: Path, described: dict[str, Any], threads: int) -> DeepRanker:
        values = described["facts"]["params"] | {"threads": threads}
        made = cls(
            features=tuple(described["features"]),
            params=make_params(cls.takes, values, str(folder)),
            fitted_heads=tuple(described["heads"]),
        )
        with np.load(folder / "scaling.npz", allow_pickle=False) as stored:
            made.scaling = Scaling(stored["mean"], stored["deviation"])
        made.build()
        with np.load(folder / "weights.npz", allow_pickle=False) as stored:
            made.network.set_weights([stored[name] for name in sorted(stored.files)])
        return made


def embedded(ids: Any, params: DeepParams, width: int | None = None, name: str | None = None) -> Any:
    """Embeddings of hashed keys; bucket 0 is nothing."""
    layer = keras(params.threads).layers.Embedding
    return layer(params.buckets + 1, width or params.width, name=name)(ids)


def tower(tensor: Any, params: DeepParams) -> Any:
    """Dense layers with ReLU."""
    layers = keras(params.threads).layers
    for units in params.layers:
        tensor = layers.Dense(units, activation="relu")(tensor)
        if params.dropout:
            tensor = layers.Dropout(params.dropout, seed=params.seed)(tensor)
    return tensor


def head(name: str, tensor: Any, params: DeepParams, added: Any = None) -> Any:
    """One number a row from a tensor, plus ``added``; a probability where the head is one, else any number."""
    library = keras(params.threads)
    total = library.layers.Dense(1)(tensor)
    if added is not None:
        total = total + added
    return library.ops.reshape(library.ops.sigmoid(total) if name in PROBABILITIES else total, (-1,))


def weights_of(network: Any) -> list[np.ndarray]:
    """Copies of a network's weights, in its order."""
    return [np.array(variable.value) for variable in network.weights]


def salt(field: str) -> int:
    """Number of a field of keys, so that equal numbers of different fields differ."""
    return sum(256**n * b for n, b in enumerate(field.encode()[:4]))


def _filled(values: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(values)
    return values if not missing else np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])


# -- fitting -------------------------------------------------------------------------------------


def fit_network(ranker: DeepRanker, train: Stream, valid: pa.Table, start: DeepRanker | None = None) -> DeepRanker:
    """Fit a network on a stream; the validation rows stop it and calibrate.

    Raises
    ------
    ContractError
        Only one kind of label is there.
    CannotGoOn
        ``start`` has another shape.
    """
    params = ranker.params
    facts, weights = _counted(train, params)
    check_labels(facts["clicks"], facts["rows"])
    ranker.fitted_heads = _heads(ranker, facts, valid)
    ranker.scaling = start.scaling if start else Scaling.of(train, ranker.features)
    ranker.build()
    if start is not None:
        _go_on(ranker, start)
    ranker.facts = {**facts, "params": asdict(params), "valid_rows": valid.num_rows}
    ranker.facts |= _epochs(ranker, train, valid, weights)
    if params.calibrate_groups:
        ranker.groups = params.groups
    ranker.calibrate(valid)
    return ranker


def _counted(train: Stream, params: DeepParams) -> tuple[dict[str, int], Reweighing | None]:
    found = {"rows": 0, "clicks": 0, "conversions": 0, "timed": 0, "satisfied": 0}
    weights = Reweighing(params.groups) if params.reweigh else None
    for batch in batches(train):
        label = numbers(batch, "label", np.int64)
        found["rows"] += batch.num_rows
        found["clicks"] += int(label.sum())
        found["conversions"] += int(numbers(batch, "converted").sum())
        found["timed"] += int((numbers(batch, "dwell_ms") > 0).sum())
        found["satisfied"] += int(satisfied(batch).sum())
        if weights:
            weights.add(batch, label)
    return found, weights


def _heads(ranker: DeepRanker, facts: dict[str, int], valid: pa.Table) -> tuple[str, ...]:
    enough = ranker.params.min_conversions
    supported = {
        "pctr": True,
        "pcvr": facts["conversions"] >= enough and has_both(numbers(valid, "converted")),
        "dwell": facts["timed"] >= enough and (numbers(valid, "dwell_ms") > 0).any(),
        "satisfaction": facts["satisfied"] >= enough and has_both(satisfied(valid)),
    }
    return tuple(head for head in ranker.tasks if supported[head])


def _go_on(ranker: DeepRanker, start: DeepRanker) -> None:
    mine, theirs = ([w.shape for w in weights_of(r.network)] for r in (ranker, start))
    if mine != theirs:
        raise CannotGoOn(f"A {ranker.spec.name} of other features, heads or sizes cannot be gone on from: fit it anew.")
    ranker.network.set_weights(weights_of(start.network))


def _epochs(ranker: DeepRanker, train: Stream, valid: pa.Table, weights: Reweighing | None) -> dict[str, Any]:
    """Passes over the rows until the validation loss no longer falls; the best weights stay."""
    params = ranker.params
    learner = _Learner(ranker)
    rng = np.random.default_rng(params.seed)
    held = list(_steps(ranker, [valid], min(params.batch, valid.num_rows), None))
    curve: dict[str, list[float]] = {"train": [], "valid": []}
    best, kept, since, diverged = np.inf, learner.weights(), 0, False
    for _ in range(params.epochs):
        windows = shuffled(train, params.shuffle_rows, rng)
        losses = [learner.learn(*step) for step in _steps(ranker, windows, params.batch, weights)]
        loss = float(np.mean([learner.loss(*step) for step in held]))
        curve["train"].append(round(float(np.mean([float(each) for each in losses])), 6))
        curve["valid"].append(round(loss, 6))
        if diverged := not np.isfinite(loss):
            # what is left is kept as it is, so that the gate sees and says it
            kept = learner.weights()
            break
        best, kept, since = (loss, learner.weights(), 0) if loss < best else (best, kept, since + 1)
        if since >= params.patience:
            break
    ranker.network.set_weights(kept)
    return {"curves": {"loss": curve}, "epochs": len(curve["valid"]), "diverged": diverged}


def _steps(
    ranker: DeepRanker, windows: Iterable[pa.Table], size: int, weights: Reweighing | None
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, tuple[np.ndarray, np.ndarray]]]]:
    """Batches of one size, as tensors and what each head is held against; the odd rows of a window are left out."""
    for window in windows:
        tensors = ranker.tensors(window)
        labels = {name: numbers(window, name, np.float32) for name in ("label", "converted", "dwell_ms")}
        labels |= {"satisfied": satisfied(window), "weight": row_weights(window)}
        if weights:
            labels["weight"] = labels["weight"] * weights.of(window, labels["label"].astype(np.int64))
        goals = {h: g for h, g in ranker.goals(labels).items() if h in ranker.heads}
        size = min(size, window.num_rows)
        for at in range(0, window.num_rows - size + 1, size):
            rows = slice(at, at + size)
            yield (
                {name: values[rows] for name, values in tensors.items()},
                {h: (y[rows].astype(np.float32), w[rows].astype(np.float32)) for h, (y, w) in goals.items()},
            )


class _Learner:
    """The network's weights while they are learnt: Adam, with steps that JAX compiles once."""

    def __init__(self, ranker: DeepRanker) -> None:
        library = keras()
        import jax

        self.network = ranker.network
        self.optimizer = library.optimizers.Adam(ranker.params.learning_rate)
        self.optimizer.build(self.network.trainable_variables)
        self.state = [
            [v.value for v in self.network.trainable_variables],
            [v.value for v in self.network.non_trainable_variables],
            [v.value for v in self.optimizer.variables],
        ]
        self._loss = jax.jit(lambda *given: self._loss_of(*given, training=False)[0])
        self._gradients = jax.value_and_grad(self._loss_of, has_aux=True)
        self._step = jax.jit(self._learn)

    def _loss_of(self, trainable: Any, others: Any, inputs: Any, goals: Any, training: bool = True) -> Any:
        from keras import ops

        outputs, others = self.network.stateless_call(trainable, others, inputs, training=training)
        total = 0.0
        for head, (target, weight) in goals.items():
            if head == "dwell":
                each = 0.1 * (outputs[head] - target) ** 2
            else:
                each = ops.binary_crossentropy(target, outputs[head])
            total += ops.sum(each * weight) / ops.maximum(ops.sum(weight), 1.0)
        return total, others

    def _learn(self, trainable: Any, others: Any, moments: Any, inputs: Any, goals: Any) -> Any:
        (loss, others), gradients = self._gradients(trainable, others, inputs, goals)
        trainable, moments = self.optimizer.stateless_apply(moments, gradients, trainable)
        return loss, [trainable, others, moments]

    def learn(self, inputs: Any, goals: Any) -> Any:
        """One step; the loss before it."""
        loss, self.state = self._step(*self.state, inputs, goals)
        return loss

    def loss(self, inputs: Any, goals: Any) -> float:
        return float(self._loss(*self.state[:2], inputs, goals))

    def weights(self) -> list[np.ndarray]:
        """A copy of the weights, in the network's order."""
        for part, variables in zip(
            self.state, (self.network.trainable_variables, self.network.non_trainable_variables), strict=False
        ):
            for value, variable in zip(part, variables, strict=True):
                variable.assign(value)
        return weights_of(self.network)
