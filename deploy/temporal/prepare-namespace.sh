#!/bin/sh
# Makes the namespace and registers Moorage's search attributes. Again: nothing new.
set -eu

until temporal operator cluster health >/dev/null 2>&1; do
    echo "waiting for Temporal at $TEMPORAL_ADDRESS"
    sleep 1
done

temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention 30d

# A namespace takes a moment to be known everywhere.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    if temporal operator search-attribute create --namespace "$TEMPORAL_NAMESPACE" \
        --name EnvOwner --type Keyword \
        --name EnvTeam --type Keyword \
        --name EnvPhase --type Keyword \
        --name EnvTemplate --type Keyword \
        --name EnvHost --type Keyword \
        --name EnvExpiresAt --type Datetime \
        --name EnvDueAt --type Datetime; then
        exit 0
    fi
    echo "attempt $attempt failed"
    sleep 2
done
exit 1
