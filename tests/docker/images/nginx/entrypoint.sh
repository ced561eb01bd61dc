#!/bin/sh
# Writes the templates into conf.d, with the variables that NGINX_ENVSUBST_FILTER matches. Then the command.
set -eu
names=$(env | cut -d = -f 1 | grep "$NGINX_ENVSUBST_FILTER" | sed 's/.*/${&}/' | tr '\n' ' ')
for template in /etc/nginx/templates/*.template; do
    envsubst "$names" <"$template" >"/etc/nginx/conf.d/$(basename "$template" .template)"
done
exec "$@"
