# One image for everything of ours: Spark's master, worker and Connect server, Airflow, MLflow, the command line.
# One Python and one set of packages on all of them: Spark's workers run the same code as its clients.
FROM python:3.11.14-slim-bookworm

RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
       libgomp1 openjdk-17-jre-headless procps \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin nightjar \
    # A named volume takes the owner of the folder that it is first mounted on.
    && install -d -o nightjar -g nightjar \
       /opt/nightjar /opt/s3 /opt/venv /var/lib/nightjar /landing /airflow /volumes/objects
ENV PATH=/opt/venv/bin:$PATH \
    VIRTUAL_ENV=/opt/venv \
    NIGHTJAR_JARS=/opt/nightjar/jars \
    SPARK_HOME=/opt/venv/lib/python3.11/site-packages/pyspark \
    PYSPARK_PYTHON=/opt/venv/bin/python \
    PYTHONUNBUFFERED=1
RUN pip install --quiet --no-cache-dir uv==0.13.9
USER nightjar
WORKDIR /opt/nightjar

# Packages first: they change less often than the code.
COPY --chown=nightjar requirements requirements
RUN uv venv --quiet --allow-existing --python 3.11 /opt/venv \
    && uv pip sync --quiet --no-cache --compile-bytecode requirements/lock.txt \
    # The client for S3 wants an older dateutil than Spark's; only the MLflow server sees this folder.
    && uv pip install --quiet --no-cache --require-hashes --target /opt/s3 -r requirements/s3.txt

COPY --chown=nightjar . .
RUN uv pip install --quiet --no-cache --no-deps -e . \
    && python -c 'from jobs.services import jars; jars.fetch()'
