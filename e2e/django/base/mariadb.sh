#!/bin/sh
# Starts MariaDB on the volume /var/lib/mysql, and makes it and the application's account on the first start.
set -eu
data=/var/lib/mysql
run=/tmp
if [ ! -d "$data/mysql" ]; then
	mariadb-install-db --no-defaults --datadir="$data" --skip-test-db --skip-name-resolve --auth-root-authentication-method=normal >/dev/null
fi
cat >"$run/init.sql" <<END
CREATE DATABASE IF NOT EXISTS \`$DB_NAME\` CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS '$DB_USER'@'%' IDENTIFIED BY '$DB_PASSWORD';
GRANT ALL ON \`$DB_NAME\`.* TO '$DB_USER'@'%';
END
exec mariadbd --no-defaults --datadir="$data" --socket="$run/mysqld.sock" --pid-file="$run/mysqld.pid" --init-file="$run/init.sql" \
	--bind-address=0.0.0.0 --skip-name-resolve --character-set-server=utf8mb4 --innodb-buffer-pool-size=64M \
	--innodb-flush-log-at-trx-commit=2 --max-connections=200
