# syntax=docker/dockerfile:1
# One image for every service: `docker run roomcast api`, `gateway`, `worker`, `migrate`.
# 3.11 is what the tests run on; the lock file holds wheels for newer ones too.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/roomcast
ENV PATH=/opt/roomcast/bin:$PATH
WORKDIR /src
# The packages change less often than the code: a layer of their own.
# They hold the clients of the model providers too; only a worker that is told to use one loads it.
COPY requirements-models.lock ./
RUN pip install --no-deps --require-hashes --only-binary :all: -r requirements-models.lock && pip check
COPY pyproject.toml README.md LICENSE ./
COPY ai_worker ai_worker
COPY chat_api chat_api
COPY roomcast roomcast
COPY shared shared
COPY ws_gateway ws_gateway
# hatchling, which builds it, is among the locked packages. Modules are compiled here: the image runs read-only.
RUN pip install --no-deps --no-build-isolation --no-index .

FROM python:${PYTHON_VERSION}-slim-bookworm
# Fixed ids: files on volumes keep their owner from one image to the next. A new volume takes over the owner and
# the mode of the folder that it covers.
RUN groupadd --system --gid 10001 roomcast \
    && useradd --system --uid 10001 --gid roomcast --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin roomcast \
    && install --directory --owner=roomcast --group=roomcast --mode=0700 /var/lib/roomcast
COPY --from=build /opt/roomcast /opt/roomcast
ENV PATH=/opt/roomcast/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/var/lib/roomcast
WORKDIR /var/lib/roomcast
USER 10001:10001
# The API, the gateway, the worker's health and metrics.
EXPOSE 8000 3001 8002
ENTRYPOINT ["roomcast"]
CMD ["--help"]
