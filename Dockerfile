# One image for all of Moorage: `moorage worker`, `moorage api`, and the stand-ins for trying it out.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/moorage
WORKDIR /src
# By hash and nothing else; a layer of its own, because it changes least.
COPY requirements.txt ./
RUN /opt/moorage/bin/pip install --require-hashes -r requirements.txt
COPY pyproject.toml README.md moorage.py ./
COPY contracts contracts
COPY clients clients
COPY activities activities
COPY workflows workflows
COPY worker worker
COPY starter starter
COPY embedded embedded
RUN /opt/moorage/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11-slim
# Nobody in particular; docker-compose.yml may run it as the owner of the secrets' files.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin moorage \
    && install -d -o moorage -g moorage -m 0777 /var/lib/moorage
COPY --from=build /opt/moorage /opt/moorage
ENV PATH=/opt/moorage/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/moorage
ENTRYPOINT ["moorage"]
CMD ["--help"]
