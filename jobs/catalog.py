"""The composition root: discovers every node, checks that they fit together, orders the work."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from jobs.contract import ADDS_UP, FAIL, KNOWN_IN, OF_ROWS, Artifact, Node, NoParams, Table, TableInput
from jobs.errors import ContractError
from jobs.landing import BY_NAME
from jobs.ops import BY_NAME as LOGS

NODE_PACKAGES = ("jobs.tables", "features", "models", "quality")


@dataclass(frozen=True)
class Group:
    """A task of the night: the nodes whose contracts name it run in one process.

    ``gate`` groups are published only after their declared checks ran in Great Expectations; of the others they
    run with the structural ones, as each table is staged.
    """

    name: str
    description: str
    gate: bool = False


GROUPS: tuple[Group, ...] = (
    Group("bronze", "Take in what landed, as delivered."),
    Group("silver", "Type, deduplicate, quarantine; sessions and daily aggregates.", gate=True),
    Group("features", "What is known of users, items and pairs at the end of the day.", gate=True),
    Group("examples", "Training rows whose label windows have closed; how each feature was distributed."),
    Group("fit", "Fit candidate models, build indexes."),
    Group("candidates", "Recall by channel, fuse."),
    Group("serving", "Score, rerank and explain the lists.", gate=True),
    Group("audit", "Measure what was published."),
)
GATES = frozenset(group.name for group in GROUPS if group.gate)


def _node(module: Any) -> Node:
    return Node(module.CONTRACT, module.build, getattr(module, "Params", NoParams))


def discover(packages: Iterable[str] = NODE_PACKAGES) -> Catalog:
    """Import every module of ``packages`` and collect its node (``CONTRACT``) or nodes (``NODES``).

    A module whose node is made from data files holds them against all contracts in ``validate(tables)``.

    Raises
    ------
    ContractError
        Two nodes share a name, an input does not exist, the nodes form a cycle, or a data file does not fit.
    """
    nodes: dict[str, Node] = {}
    validators: list[Callable[[Mapping[str, Table]], None]] = []
    for package in packages:
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, prefix=f"{package}."):
            module = importlib.import_module(info.name)
            found = list(getattr(module, "NODES", ())) + ([_node(module)] if hasattr(module, "CONTRACT") else [])
            for node in found:
                if node.name in nodes:
                    raise ContractError(f"{node.name} is declared in {nodes[node.name].module} and {info.name}.")
                nodes[node.name] = replace(node, module=info.name)
            if found and hasattr(module, "validate"):
                validators.append(module.validate)
    catalog = Catalog(nodes)
    catalog.validate()
    tables = {name: node.contract for name, node in nodes.items() if isinstance(node.contract, Table)}
    for validate in validators:
        validate(tables)
    return catalog


@dataclass(frozen=True)
class Catalog:
    """Every node by name."""

    nodes: dict[str, Node]

    def node(self, name: str) -> Node:
        try:
            return self.nodes[name]
        except KeyError:
            raise ContractError(f"There is no table or artifact {name!r}; see `nightjar tables`.") from None

    def table(self, name: str) -> Table:
        contract = self.node(name).contract
        if not isinstance(contract, Table):
            raise ContractError(f"{name} is an artifact, not a table.")
        return contract

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Names in an order in which every input comes before its reader; ties by name."""
        sorter = TopologicalSorter({name: set(node.upstream) for name, node in sorted(self.nodes.items())})
        try:
            return tuple(sorter.static_order())
        except CycleError as error:
            raise ContractError(f"Nodes read each other in a circle: {' -> '.join(error.args[1])}.") from None

    def group(self, name: str) -> list[Node]:
        """The nodes of a group in working order."""
        if name not in {g.name for g in GROUPS}:
            raise ContractError(f"There is no group {name!r}; there are {[g.name for g in GROUPS]}.")
        return [self.nodes[n] for n in self.order if self.nodes[n].contract.group == name]

    def downstream(self, name: str) -> list[str]:
        """``name`` and all that reads it, directly or not, in working order."""
        found = {name}
        for candidate in self.order:
            if found & set(self.nodes[candidate].upstream):
                found.add(candidate)
        return [n for n in self.order if n in found]

    def upstream(self, name: str) -> list[str]:
        """``name`` and all that it is made from, in working order."""
        found = {self.node(name).name}
        for candidate in reversed(self.order):
            if candidate in found:
                found |= set(self.nodes[candidate].upstream)
        return [n for n in self.order if n in found]

    def as_arrived(self) -> Catalog:
        """The same nodes, which read no day ahead of theirs: what arrived late stays unknown to its day."""

        def unaware(node: Node) -> Node:
            inputs = [replace(i, ahead=0) if isinstance(i, TableInput) else i for i in node.contract.inputs]
            return replace(node, contract=replace(node.contract, inputs=inputs))

        return Catalog({name: unaware(node) for name, node in self.nodes.items()})

    def validate(self) -> None:
        groups = {g.name: at for at, g in enumerate(GROUPS)}
        for node in self.nodes.values():
            if node.contract.group not in groups:
                raise ContractError(f"{node.name}: group {node.contract.group!r} is none of {list(groups)}.")
            for name in node.upstream:
                if name not in self.nodes:
                    raise ContractError(f"{node.name} reads {name}, which no module declares.")
                if groups[self.nodes[name].contract.group] > groups[node.contract.group]:
                    raise ContractError(f"{node.name} reads {name}, which a later group builds.")
            if isinstance(node.contract, Artifact) and node.contract.log not in (None, *LOGS):
                raise ContractError(f"{node.name}: {node.contract.log!r} is no log; there are {sorted(LOGS)}.")
            for each in node.table_inputs:
                if each.table.startswith("ops.") and each.table not in LOGS:
                    raise ContractError(f"{node.name} reads {each.table}, which is no log; there are {sorted(LOGS)}.")
            for landing in node.landing_inputs:
                if landing.feed not in BY_NAME:
                    raise ContractError(f"{node.name} reads feed {landing.feed!r}, which the landing zone lacks.")
            self._validate_arguments(node)
            self._validate_checks(node, groups)
        _ = self.order

    def _validate_checks(self, node: Node, groups: Mapping[str, int]) -> None:
        checks = node.contract.checks if isinstance(node.contract, Table) else ()
        for name in (check.args["table"] for check in checks if check.kind in (ADDS_UP, KNOWN_IN)):
            other = self.nodes.get(name)
            if other is None or groups[other.contract.group] > groups[node.contract.group]:
                raise ContractError(f"{node.name} is checked against {name}, which is not built before it.")
        for check in checks if node.contract.group not in GATES else ():
            if check.kind not in OF_ROWS or check.verdict != FAIL:
                raise ContractError(
                    f"{node.name}: {check.name} ({check.verdict}) needs a gate, which group {node.contract.group} "
                    f"has not: declare one of {OF_ROWS} with verdict {FAIL!r}."
                )

    @staticmethod
    def _validate_arguments(node: Node) -> None:
        parameters = inspect.signature(node.build).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return
        accepted = set(parameters) - {"days", "params", "market", "out"}
        declared = {i.argument for i in node.contract.inputs}
        if accepted != declared:
            raise ContractError(f"{node.name}: build takes {sorted(accepted)}, its inputs are {sorted(declared)}.")

    def manifest(self) -> dict[str, Any]:
        """The catalogue as plain data: what DAGs and the dictionary read."""
        return {
            "version": 1,
            "groups": [{**asdict(g), "nodes": [n.name for n in self.group(g.name)]} for g in GROUPS],
            "nodes": {name: self._describe(self.nodes[name]) for name in self.order},
        }

    @staticmethod
    def _describe(node: Node) -> dict[str, Any]:
        contract = node.contract
        described: dict[str, Any] = {
            "kind": contract.kind,
            "group": contract.group,
            "owner": contract.owner,
            "module": node.module,
            "description": contract.description,
            "upstream": node.upstream,
            "inputs": [{"type": type(i).__name__, **asdict(i)} for i in contract.inputs],
            "params": asdict(node.params()),
        }
        if isinstance(contract, Table):
            described |= {
                "columns": [asdict(c) for c in contract.schema],
                "keys": list(contract.keys),
                "checks": [asdict(c) for c in contract.checks],
                "grain": contract.grain,
                "stateful": contract.stateful,
                "replace_by": contract.replace_by,
                "append": contract.append,
            }
        if isinstance(contract, Artifact):
            described |= {"columns": [], "every_days": contract.every_days}
        return described


def write_manifest(catalog: Catalog, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(catalog.manifest(), indent=1, sort_keys=True, default=str))
    partial.replace(path)
