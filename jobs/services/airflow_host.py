"""The name under which Airflow's processes know this machine."""


def hostname() -> str:
    """Always the same: the machine's own name may change with its network, and resolving it can hang."""
    return "localhost"
