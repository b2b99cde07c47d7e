"""The tables of the simulated host, in SQLite; people and tests may read them while it runs."""

import sqlite3
from pathlib import Path

from embedded.sqlite_file import open_sqlite

_TABLES = """
CREATE TABLE namespaces (
    name        TEXT PRIMARY KEY,
    uid         TEXT NOT NULL,
    labels      TEXT NOT NULL,
    annotations TEXT NOT NULL,
    finalizers  TEXT NOT NULL DEFAULT '[]',
    gone_at     REAL             -- set while it terminates
) STRICT;
CREATE TABLE objects (
    namespace TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (namespace, kind, name)
) STRICT;
CREATE TABLE releases (
    namespace TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, chart_version TEXT NOT NULL,
    labels TEXT NOT NULL, chart TEXT NOT NULL, "values" TEXT NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;
-- The pod of a release: it starts after the install and ends after the uninstall, or with a pause.
CREATE TABLE pods (
    namespace TEXT NOT NULL, release TEXT NOT NULL,
    started_at REAL NOT NULL, ready_at REAL NOT NULL, gone_at REAL,
    PRIMARY KEY (namespace, release)
) STRICT;
-- The StatefulSet of a release, which a pause scales to zero; from `exported_at` its Secret is there.
CREATE TABLE statefulsets (
    namespace TEXT NOT NULL, release TEXT NOT NULL, replicas INTEGER NOT NULL, annotations TEXT NOT NULL,
    version INTEGER NOT NULL, exported_at REAL NOT NULL,
    PRIMARY KEY (namespace, release)
) STRICT;
-- Pods that the syncer of a vCluster has made on the host.
CREATE TABLE synced_pods (
    namespace TEXT NOT NULL, release TEXT NOT NULL, name TEXT NOT NULL, gone_at REAL,
    PRIMARY KEY (namespace, name)
) STRICT;
-- Tenants' pods that end only by force: `asked` is how often they were asked to end.
CREATE TABLE stubborn (
    namespace TEXT NOT NULL, name TEXT NOT NULL, asked INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;
-- The Secrets and ConfigMaps of requests for snapshots; the controller of a vCluster has a finalizer on them.
CREATE TABLE requests (
    namespace TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, release TEXT NOT NULL,
    document TEXT NOT NULL, finalizers TEXT NOT NULL, created_at REAL NOT NULL, deleted_at REAL,
    version INTEGER NOT NULL,
    PRIMARY KEY (namespace, kind, name)
) STRICT;
-- The pods that restore snapshots; they stay when they have ended.
CREATE TABLE restore_pods (
    namespace TEXT NOT NULL, release TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL,
    labels TEXT NOT NULL, path TEXT NOT NULL, phase TEXT NOT NULL, message TEXT NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;
-- The files of snapshots on the volume of a vCluster: all objects in it at that moment.
CREATE TABLE snapshot_files (
    namespace TEXT NOT NULL, release TEXT NOT NULL, path TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (namespace, release, path)
) STRICT;
-- They stay after an uninstall: the state of the vCluster, and its token.
CREATE TABLE volumes (
    namespace TEXT NOT NULL, name TEXT NOT NULL, release TEXT NOT NULL, token TEXT NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;
-- The authorities for client certificates; `volume` is the token of the volume whose vCluster it signs for.
CREATE TABLE authorities (
    namespace TEXT NOT NULL, release TEXT NOT NULL,
    volume TEXT PRIMARY KEY, certificate TEXT NOT NULL, key TEXT NOT NULL
) STRICT;
CREATE TABLE virtual_objects (
    namespace TEXT NOT NULL, release TEXT NOT NULL, resource TEXT NOT NULL, inner_namespace TEXT NOT NULL,
    name TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (namespace, release, resource, inner_namespace, name)
) STRICT;
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database at `path`, or create it. A change is committed when its `with` block ends."""
    return open_sqlite(path, _TABLES)
