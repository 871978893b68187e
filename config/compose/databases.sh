#!/usr/bin/env bash
# Run once by the PostgreSQL image, when its data folder is empty: a database and a role each for Airflow and MLflow.
set -euo pipefail

for name in airflow mlflow; do
  password_variable="${name^^}_DB_PASSWORD"
  # psql quotes the values; the shell never puts them into SQL.
  psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set name="$name" --set password="${!password_variable}" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
