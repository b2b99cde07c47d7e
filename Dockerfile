# The images of Moorage, by target. Each runs as a user without rights and writes nowhere but to /tmp and
# /var/lib/moorage, so its root file system can be read-only.
#
#   docker build .                      `server`: moorage worker, api, codec-server, setup, doctor
#   docker build --target embedded .    the same, the embedded stack and Temporal's dev server, for trying it out
#
# The digest is that of the index of all architectures. Another base, such as a mirror's: --build-arg PYTHON_IMAGE=…
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON_IMAGE} AS python

# The packages of the servers: by hash and nothing else; a separate stage, because it changes least.
FROM python AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/moorage
WORKDIR /src
COPY requirements-server.txt ./
RUN /opt/moorage/bin/pip install --no-compile --no-deps --require-hashes -r requirements-server.txt

# Ours, in a separate folder that is laid over the packages: a new version is a small layer.
FROM packages AS build
COPY pyproject.toml README.md LICENSE moorage.py ./
COPY contracts contracts
COPY clients clients
COPY activities activities
COPY workflows workflows
COPY worker worker
COPY starter starter
COPY embedded embedded
RUN /opt/moorage/bin/pip install --no-compile --no-deps --no-build-isolation --prefix /own .
COPY deploy/shrink_packages.py ./
ENV PYTHONPATH=/own/lib/python3.11/site-packages
RUN /opt/moorage/bin/pip check \
    && /opt/moorage/bin/pip uninstall --quiet --yes setuptools pip \
    && /opt/moorage/bin/python -P shrink_packages.py /opt/moorage \
    && python -m compileall -q --invalidation-mode unchecked-hash -s /own -p /opt/moorage /own

# What the embedded stack needs more: pip leaves out what the servers have.
FROM packages AS build-embedded
COPY requirements.txt ./
RUN /opt/moorage/bin/pip install --no-compile --no-deps --require-hashes --prefix /more -r requirements.txt \
    && python -m compileall -q --invalidation-mode unchecked-hash -s /more -p /opt/moorage /more

FROM python AS server
LABEL org.opencontainers.image.title="Moorage" \
      org.opencontainers.image.description="Self-service virtual Kubernetes clusters, whole or gone" \
      org.opencontainers.image.licenses="Apache-2.0"
# A user without rights; docker-compose.yml may run it as the owner of the secrets' files, who also writes to the
# folder of state: like /tmp, each user removes only their own files there. No program (su, mount, passwd) gives more.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin moorage \
    && install -d -o moorage -g moorage -m 1777 /var/lib/moorage \
    && find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
COPY --from=build /opt/moorage /opt/moorage
COPY --from=build /own /opt/moorage
# A writable home: the user of the container has none, and libraries look for one.
ENV PATH=/opt/moorage/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
WORKDIR /var/lib/moorage
ENTRYPOINT ["moorage"]
CMD ["--help"]

FROM server AS embedded
COPY --from=build-embedded /more /opt/moorage

# The last stage is what a build without a target makes.
FROM server
