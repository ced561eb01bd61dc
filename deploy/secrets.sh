#!/bin/sh
# Makes the secrets that compose.yaml hands to the containers, each as a file in secrets/. One that is there already is
# never changed, so this may be run again: after an upgrade, or after you put a file there yourself.
#
# Who may read them: the folder is closed to everybody but its owner (0700). The files in it are readable (0644), because
# a container gets them one by one, with the owner and the mode that they have here, and reads them as a user of its own
# (tally, postgres, redis, nginx). Do not move the files out of the folder.
set -eu

cd "$(dirname "$0")/.."
users=docs/redis-users.md
mkdir -p secrets
chmod 700 secrets
umask 077

# Prints that many random bytes in hexadecimal digits, which need no quoting anywhere.
random() {
    head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

# Writes the standard input to a file of secrets/, unless there is one.
keep() {
    if [ -e "secrets/$1" ]; then
        cat >/dev/null
        return
    fi
    cat >"secrets/.$1"
    mv "secrets/.$1" "secrets/$1"
    echo "made secrets/$1"
}

for name in secret_key jwt_signing_key mailbox_secret metrics_token; do
    random 48 | keep "$name"
done

for name in postgres_password postgres_owner_password postgres_app_password; do
    random 24 | keep "$name"
done
printf 'postgres://tally_owner:%s@postgres:5432/tally' "$(cat secrets/postgres_owner_password)" | keep database_owner_url
printf 'postgres://tally_app:%s@postgres:5432/tally' "$(cat secrets/postgres_app_password)" | keep database_url

# The rules of Redis' users are the ones that the document shows. The user `health` can do nothing but ask for a sign of life.
rules=$(sed -n -e '/^user default /p' -e '/^user tally_/p' "$users")
for name in broker relay cache; do
    random 24 | keep "redis_${name}_password"
    password=$(cat "secrets/redis_${name}_password")
    printf 'redis://tally_%s:%s@redis:6379/0' "$name" "$password" | keep "${name}_redis_url"
    rules=$(printf '%s' "$rules" | sed "s/>password-of-$name /#$(printf '%s' "$password" | sha256sum | cut -d ' ' -f 1) /")
done
printf '%s\nuser health on nopass -@all +ping\n' "$rules" | keep redis.acl

printf 'operator:%s' "$(random 16)" | keep flower_basic_auth
random 16 | keep grafana_password

# What only you know: write it into these files. Empty, there is no such service.
for name in email_url stripe_secret_key stripe_webhook_secret hf_token; do
    keep "$name" </dev/null
done

find secrets -mindepth 1 -type d -exec chmod 755 {} +
find secrets -type f -exec chmod 644 {} +
