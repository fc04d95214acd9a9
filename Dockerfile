# nextword in a container. Data and runs live in the folder that is mounted at /work:
#
#   docker build -t nextword .
#   docker run --rm -it -v "$PWD:/work" nextword pretrain my_books/ --out run --budget 10m
#
# With a GPU add `--gpus all`; PyTorch comes in its usual build, which has CUDA. For a smaller image
# on a machine without one, give the address of PyTorch's CPU builds:
# `--build-arg PIP_EXTRA_INDEX_URL=...`.

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY nextword nextword
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
ARG PIP_EXTRA_INDEX_URL=
COPY requirements.lock /tmp/requirements.lock
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /tmp/requirements.lock /wheels/*.whl \
    && rm /tmp/requirements.lock \
    && useradd --create-home nextword \
    && install --directory --owner=nextword /work
USER nextword
WORKDIR /work
VOLUME /work
ENTRYPOINT ["nextword"]
CMD ["--help"]
