# One image for all of Moorage: `moorage setup`, `worker`, `api`, `codec-server`, and the stand-ins for trying it out.
# It writes nowhere but to /tmp and /var/lib/moorage, so its root file system can be read-only.

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/moorage
WORKDIR /src
# By hash and nothing else; a separate layer, because it changes least.
COPY requirements.txt ./
RUN /opt/moorage/bin/pip install --no-deps --require-hashes -r requirements.txt
COPY pyproject.toml README.md moorage.py ./
COPY contracts contracts
COPY clients clients
COPY activities activities
COPY workflows workflows
COPY worker worker
COPY starter starter
COPY embedded embedded
RUN /opt/moorage/bin/pip install --no-deps --no-build-isolation . && /opt/moorage/bin/pip check

FROM python:3.11.14-slim-bookworm
# A user without rights; docker-compose.yml may run it as the owner of the secrets' files.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin moorage \
    && install -d -o moorage -g moorage -m 0777 /var/lib/moorage
COPY --from=build /opt/moorage /opt/moorage
# A writable home: the user of the container has none, and libraries look for one.
ENV PATH=/opt/moorage/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
WORKDIR /var/lib/moorage
ENTRYPOINT ["moorage"]
CMD ["--help"]
