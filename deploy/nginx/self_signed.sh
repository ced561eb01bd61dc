#!/bin/sh
# Makes a certificate that its own maker signed, for trials: browsers warn of it, and curl wants --insecure.
# Usage: self_signed.sh DOMAIN FOLDER
set -eu

if [ "$#" -ne 2 ]; then
    echo "Usage: $0 DOMAIN FOLDER" >&2
    exit 2
fi
domain=$1
folder=$2
if [ -e "$folder/privkey.pem" ] || [ -e "$folder/fullchain.pem" ]; then
    echo "$folder has a certificate already; it stays as it is." >&2
    exit 1
fi

mkdir -p "$folder"
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
    -subj "/CN=$domain" -addext "subjectAltName=DNS:$domain" \
    -keyout "$folder/privkey.pem" -out "$folder/fullchain.pem" 2>/dev/null
chmod 644 "$folder/fullchain.pem"
echo "$folder/fullchain.pem and $folder/privkey.pem, for $domain, are good for a year."
