#!/bin/sh
# Starts Trino, the engine behind Athena engine version 3, on loopback: trino.sh FOLDER [PORT]
#
# Reads Delta tables below FOLDER, which it names local:///, and keeps its catalogue, log and pid below FOLDER/.trino. Installs it, pinned
# and checked, at the first start: 820 MB to fetch, 400 MB to keep. Needs Java 24 or newer (JAVA, java, or what lies in /usr/lib/jvm),
# Maven for the download, 2.5 GB of memory. Prints its URL once it answers. It is one process: $! of the shell that starts it is its pid.
# Ends by SIGTERM, and, where its standard input is a pipe, when that pipe is closed.
set -eu

version=476
sum=cfd5accde17e8ebd251eeeb78aed1f490e77bb3a164d95a0f454bf8a7c1cbd3f
if [ $# -lt 1 ]; then
    echo "usage: trino.sh FOLDER [PORT]" >&2
    exit 64
fi
folder=$(realpath "$1")
port=${2:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}
cache=${SLUICE_SERVERS:-$HOME/.cache/sluice/servers}
home="$cache/trino-$version"

new_enough() {
    major=$("$1" -version 2>&1 | sed -n 's/^[a-z]* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 24 ]
}
java=
for candidate in "${JAVA:-}" "${JAVA_HOME:-/nowhere}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    if [ -x "$candidate" ] && new_enough "$candidate"; then
        java=$candidate
        break
    fi
done
[ -n "$java" ] || { echo "Trino $version: no Java 24 or newer found: install one (Temurin 25, for example), or name it in JAVA" >&2; exit 1; }

mkdir -p "$cache"
# Two tests that start it at the same time install it once.
(
    if command -v flock >/dev/null; then flock 9; fi
    if [ ! -f "$home/.complete" ]; then
        command -v mvn >/dev/null || { echo "Trino: no mvn found (Debian: apt-get install maven)" >&2; exit 1; }
        new="$home.new"
        rm -rf "$new"
        mkdir -p "$new"
        # A repository of its own: the archive is not kept beside what comes out of it.
        mvn -q -B -Dmaven.repo.local="$new/m2" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
            -Dartifact="io.trino:trino-server:$version:tar.gz" -DoutputDirectory="$new" >&2
        rm -rf "$new/m2"
        echo "$sum  $new/trino-server-$version.tar.gz" | sha256sum -c --quiet >&2
        # Files that plugins share are links to one another, so all come out before most go.
        tar -xzf "$new/trino-server-$version.tar.gz" -C "$new"
        rm "$new/trino-server-$version.tar.gz"
        find "$new/trino-server-$version/plugin" -mindepth 1 -maxdepth 1 ! -name delta-lake -exec rm -rf {} +
        rm -rf "$home"
        mv "$new/trino-server-$version" "$home"
        rm -rf "$new"
        touch "$home/.complete"
    fi
) 9>"$cache/trino.lock"

run="$folder/.trino"
mkdir -p "$run/catalog" "$run/metastore"
cat >"$run/catalog/delta.properties" <<END
connector.name=delta_lake
hive.metastore=file
hive.metastore.catalog.dir=local:///.trino/metastore
fs.native-local.enabled=true
local.location=$folder
delta.register-table-procedure.enabled=true
delta.security=ALLOW_ALL
END
cat >"$run/config.properties" <<END
coordinator=true
node-scheduler.include-coordinator=true
node.environment=test
node.id=sluice
node.internal-address=127.0.0.1
node.bind-ip=127.0.0.1
http-server.http.port=$port
discovery.uri=http://127.0.0.1:$port
query.max-memory=512MB
query.max-memory-per-node=512MB
catalog.config-dir=$run/catalog
plugin.dir=$home/plugin
log.path=$run/trino.log
END

# Beside the server, which takes the place of this shell: tells when it answers, ends it if it never does, and ends it with its parent.
exec 3<&0
ready() {
    python3 - "http://127.0.0.1:$port/v1/info" 2>/dev/null <<'END'
import json, sys, urllib.request
sys.exit(json.load(urllib.request.urlopen(sys.argv[1], timeout=5))["starting"])
END
}
(
    tries=0
    until ready; do
        tries=$((tries + 1))
        kill -0 $$ 2>/dev/null || exit 1
        [ $tries -lt 300 ] || { kill $$; exit 1; }
        sleep 1
    done
    echo "http://127.0.0.1:$port"
    exec >/dev/null
    if [ -p /dev/fd/3 ]; then
        cat <&3
        kill $$ 2>/dev/null
    fi
) &
echo $$ >"$run/pid"
cd "$run"
exec "$java" -cp "$home/lib/*" -Xmx2g -XX:+ExitOnOutOfMemoryError -Djdk.attach.allowAttachSelf=true -Dfile.encoding=UTF-8 \
    --add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow \
    --add-opens=java.base/java.nio=ALL-UNNAMED -Dconfig="$run/config.properties" io.trino.server.TrinoServer >"$run/out" 2>&1 3<&-
