"""Which module may import which: the arrows that docs/architecture.md draws, read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NODE_PACKAGES = ("features", "models", "quality")
PROJECT = ("dags", "jobs", "plugins", "tests", "bench", *NODE_PACKAGES)

# What a node may know of the engine: declarations, errors, a market's configuration, and pure functions.
FOR_NODES = {"jobs.contract", "jobs.errors", "jobs.interactions", "jobs.keys", "jobs.settings"}
# The engine's core serves every node alike.
CORE = (
    "jobs.contract",
    "jobs.lake",
    "jobs.landing_reader",
    "jobs.locks",
    "jobs.reconcile",
    "jobs.runner",
    "jobs.session",
    "jobs.settings",
)

# Modules of node packages that are no nodes: they bring nodes and engine together, so they see both.
COMPOSITION = {
    "models.registry": "versions and aliases in MLflow, pins: which model is in use, called by steps",
    "models.training": "reads examples, fits, logs to MLflow: a training run, called by steps",
    "quality.data_docs": "writes what the gate found where people look, called with the gate's findings",
    "quality.anomalies": "reads the files that a table had on the same weekday, called by the gate",
    "quality.gate": "runs declared checks on what a runner has staged, called by steps",
}
# Single names of the engine that nodes may import.
NAMES = {
    ("quality.lists", "jobs.lake.arrow_rows"): "a pure function from rows to an Arrow table",
}
TABLE_NAME = re.compile(r"(bronze|silver|features|training|candidates|serving|audit|models)\.[a-z_]+")


def modules(*packages: str) -> Iterator[tuple[str, Path]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Pairs of module and full name: ``from jobs import ops`` gives ``("jobs.ops", "jobs.ops")``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrow"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if is_module(full) else node.module or ""), full


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def at_module_level(tree: ast.Module) -> ast.Module:
    """The tree without the bodies of functions, which run later."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
            node.body = [ast.Pass()]
            return node

    return Strip().visit(tree)


def source(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def forbidden(module: str, path: Path) -> list[str]:
    """Names of the engine that a module of a node package imports and may not."""
    found = []
    for target, full in imported(source(path)):
        top = target.split(".")[0]
        if top not in PROJECT or top in NODE_PACKAGES or target in FOR_NODES or (module, full) in NAMES:
            continue
        found.append(full)
    return found


@pytest.mark.parametrize("package", NODE_PACKAGES)
def test_nodes_import_the_contract_and_no_engine(package: str) -> None:
    wrong = {module: names for module, path in modules(package) if (names := forbidden(module, path))}
    assert {m: names for m, names in wrong.items() if m not in COMPOSITION} == {}


def test_every_exception_is_still_needed() -> None:
    found = dict(modules(*NODE_PACKAGES))
    assert set(COMPOSITION) <= set(found)
    for module in COMPOSITION:
        targets = {target for target, _ in imported(source(found[module]))}
        assert forbidden(module, found[module]) or targets & set(COMPOSITION), module
    unused = [
        (module, name)
        for module, name in NAMES
        if module not in found or name not in {full for _, full in imported(source(found[module]))}
    ]
    assert unused == []


def test_features_import_neither_models_nor_quality() -> None:
    for module, path in modules("features"):
        tops = {target.split(".")[0] for target, _ in imported(source(path))}
        assert not tops & {"models", "quality"}, module


def test_no_node_imports_what_brings_nodes_and_engine_together() -> None:
    for module, path in modules(*NODE_PACKAGES):
        if module not in COMPOSITION:
            assert not {target for target, _ in imported(source(path))} & set(COMPOSITION), module


def test_dag_files_import_nothing_of_the_project_when_read() -> None:
    for module, path in modules("dags"):
        tops = {target.split(".")[0] for target, _ in imported(at_module_level(source(path)))}
        assert not tops & set(PROJECT), module


def test_dag_files_call_the_steps_only() -> None:
    for module, path in modules("dags"):
        ours = {full for target, full in imported(source(path)) if target.split(".")[0] in PROJECT}
        assert ours <= {"jobs.steps"}, module


def test_dag_files_need_airflow_and_the_standard_library_only() -> None:
    standard = {"__future__", "collections", "datetime", "json", "os", "pathlib", "typing"}
    for module, path in modules("dags"):
        tops = {target.split(".")[0] for target, _ in imported(at_module_level(source(path)))}
        assert tops <= standard | {"airflow"}, module


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_no_node(module: str) -> None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    targets = {target for target, _ in imported(source(path))}
    assert not {t for t in targets if t.split(".")[0] in NODE_PACKAGES or t.startswith("jobs.tables")}


@pytest.mark.parametrize("module", CORE)
def test_the_core_knows_no_table_by_name(module: str) -> None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    texts = [n.value for n in ast.walk(source(path)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    assert [text for text in texts if TABLE_NAME.fullmatch(text)] == []


def test_the_contract_imports_neither_spark_nor_a_model_library() -> None:
    path = ROOT / "jobs" / "contract.py"
    tops = {target.split(".")[0] for target, _ in imported(source(path))}
    assert not tops & {"pyspark", "mlflow", "xgboost", "pandas", "numpy", "pyarrow", "deltalake"}


def test_plugins_read_and_never_build() -> None:
    for module, path in modules("plugins"):
        targets = {target for target, _ in imported(source(path))}
        assert not {t for t in targets if t.split(".")[0] in NODE_PACKAGES or t in {"jobs.runner", "jobs.steps"}}, (
            module
        )
