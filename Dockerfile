# The tracking server of MLflow, which captures the runs of all its clients (docs/server.md).
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY yprov_mlflow yprov_mlflow
RUN python -m venv /opt/yprov && /opt/yprov/bin/pip install --no-cache-dir '.[sql]'

FROM python:3.12-slim
COPY --from=build /opt/yprov /opt/yprov
RUN useradd --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin mlflow \
    && install -d -o mlflow -g mlflow /data
# The image has no git: the server's own code is not of interest.
ENV PATH=/opt/yprov/bin:$PATH YPROV_MLFLOW_DIR=/data/journals GIT_PYTHON_REFRESH=quiet
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 5000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:5000/health', timeout=9)"]
# In this form the server is process 1 and gets the signal that stops the container.
CMD ["mlflow", "server", "--app-name", "yprov", "--host", "0.0.0.0", "--backend-store-uri", "sqlite:////data/mlflow.db", "--artifacts-destination", "/data/artifacts"]
