-- Makes Tally's database and its two roles (docs/database-roles.md). The postgres image runs this once, when its volume is
-- empty. The passwords come from the files that deploy/secrets.sh wrote, so they are in no argument and no environment.
\set owner_password `cat /run/secrets/postgres_owner_password`
\set app_password `cat /run/secrets/postgres_app_password`
CREATE ROLE tally_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE tally_app LOGIN PASSWORD :'app_password';
CREATE DATABASE tally OWNER tally_owner;
