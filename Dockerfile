# One image for edges, workers and the operator's commands. Stages:
#   busgate  the `busgate` command and nothing else; build your own image on it (docs/deploying.md)
#   shop     with the example shop, for docker-compose.yml
#
# pip takes its settings from the build arguments below, where they are given; they stay in the first stage.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
# Of pyproject.toml: redis for limits that several machines count together; tracing can be added.
ARG EXTRAS=edge,redis
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY contracts contracts
COPY bus bus
COPY edge edge
COPY workers workers
COPY ops ops
COPY examples examples
RUN python -m venv --without-pip /opt/busgate \
 && python -m pip --python /opt/busgate/bin/python install --no-cache-dir ".[${EXTRAS}]" \
 # what only compilers and debuggers read
 && find /opt/busgate \( -name '*.c' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' \) -delete

FROM ${PYTHON} AS busgate
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /app --shell /usr/sbin/nologin busgate
COPY --from=build /opt/busgate /opt/busgate
ENV PATH=/opt/busgate/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /app
USER busgate
# Is it ready? Both listen for the operator at 8081, if they are configured to.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8081, timeout=2); c.request('GET', '/readyz'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["busgate"]

FROM busgate AS shop
USER root
COPY examples/shop /app/shop
COPY deploy/compose /app/compose
COPY deploy/rabbitmq/definitions.json /app/compose/definitions.json
# Volumes begin with the owner and the mode of the folder that they cover.
RUN install -d -o busgate -g busgate -m 0700 /data /secrets /secrets/edge /secrets/worker /secrets/operator \
 && install -d -o busgate -g busgate -m 0755 /secrets/rabbitmq && chmod 0755 /secrets
USER busgate
