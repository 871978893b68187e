"""All components of all services, in the order in which they start."""

from __future__ import annotations

from jobs.errors import ServiceError
from jobs.services import airflow, mlflow, postgres, spark
from jobs.services.component import Component

SERVICES = ("postgres", "spark", "mlflow", "airflow")
NEEDS = {"mlflow": ("postgres",), "airflow": ("postgres",)}


def components(services: list[str]) -> list[Component]:
    """The components of some services, each after those that it needs."""
    makers = {
        "postgres": postgres.components,
        "spark": spark.components,
        "mlflow": mlflow.components,
        "airflow": airflow.components,
    }
    return [component for name in SERVICES if name in services for component in makers[name]()]


def with_needs(services: list[str]) -> list[str]:
    """Services and those that they cannot do without.

    Raises
    ------
    ServiceError
        There is no such service.
    """
    if unknown := sorted(set(services) - set(SERVICES)):
        raise ServiceError(f"There is no service {unknown}; there are {', '.join(SERVICES)}.")
    wanted = {need for name in services for need in (name, *NEEDS.get(name, ()))}
    return [name for name in SERVICES if name in wanted]
