"""Serve the reports through a real Airflow API app, ask for pages, and print the answers; one process, no port.

``NIGHTJAR_HOME`` has the reports. Its argument is JSON: a list of ``[role or "", path]``.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    from airflow.utils.db import initdb

    initdb()
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    app = create_app(apps="core")
    client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
    answers = []
    for role, path in json.loads(sys.argv[1]):
        headers = {}
        if role:
            user = SimpleAuthManagerUser(username=role, role=None if role == "nobody" else role)
            headers["Authorization"] = f"Bearer {get_auth_manager().generate_jwt(user)}"
        answer = client.get(path, headers=headers)
        told = [answer.headers.get(name, "") for name in ("location", "content-security-policy")]
        answers.append([answer.status_code, told[0], answer.text[:2000], told[1]])
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
