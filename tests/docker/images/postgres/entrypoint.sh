#!/bin/sh
# On an empty volume: makes the server, runs /docker-entrypoint-initdb.d/*.sql while nobody else can connect. Then the command.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256 >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses=''" start
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql -v ON_ERROR_STOP=1 --username postgres --no-psqlrc --file "$file"
    done
    pg_ctl --wait --mode fast stop
fi
exec "$@" -c "listen_addresses=*"
