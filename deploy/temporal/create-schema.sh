#!/bin/sh
# Creates Temporal's two databases and brings their schemas to the version of this image. Again: nothing new.
set -eu

SQL_PASSWORD=$(cat /run/secrets/temporal-db-password)
export SQL_PASSWORD

for database in temporal visibility; do
    name=$([ "$database" = temporal ] && echo temporal || echo temporal_visibility)
    tool="temporal-sql-tool --plugin postgres12 --ep $POSTGRES_SEEDS --port 5432 --user $POSTGRES_USER --db $name"
    $tool create
    $tool setup-schema --version 0.0
    $tool update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$database/versioned"
done
