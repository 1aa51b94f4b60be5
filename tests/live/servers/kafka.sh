#!/bin/bash
# A Kafka broker of one node on loopback:
#
#   kafka.sh jars                     fetches what it needs, pinned, once
#   kafka.sh start DIR PORT [PARENT]  starts it, its data below DIR; again on the same DIR it finds its data
#   kafka.sh stop DIR                 stops it
#
# PORT takes plain connections, PORT+1 SASL (SCRAM-SHA-512 and PLAIN), PORT+2 TLS (DIR/ca.pem); PORT+3 is the controller's. User alice
# (password alice-secret) may do everything, bob (bob-secret) nothing. It ends with the process PARENT. Needs Java 17 and Maven.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
jars="${XDG_CACHE_HOME:-$HOME/.cache}/sluice/servers/kafka-4.1.0"

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 64
}

need() {
    command -v "$1" >/dev/null || { echo "no $1 found: install it (Debian: apt-get install $2)" >&2; exit 69; }
}

fetch() {
    need java openjdk-17-jre-headless
    [ ! -f "$jars/.complete" ] || return 0
    need mvn maven
    mvn -q -B -f "$here/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars" >&2
    touch "$jars/.complete"
}

settings() {
    cat <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 3))
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,SASL_PLAINTEXT://127.0.0.1:$((port + 1)),SSL://127.0.0.1:$((port + 2)),CONTROLLER://127.0.0.1:$((port + 3))
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL_PLAINTEXT://127.0.0.1:$((port + 1)),SSL://127.0.0.1:$((port + 2))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="alice-secret";
ssl.keystore.location=$dir/broker.p12
ssl.keystore.password=broker-secret
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:alice
log.dirs=$dir/data
auto.create.topics.enable=false
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
END
}

kafka() {
    java -Xms128m -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" "$@"
}

start() {
    fetch
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    if [ ! -d "$dir/data" ]; then
        keytool -genkeypair -alias broker -keyalg EC -validity 30 -dname CN=localhost -ext san=ip:127.0.0.1,dns:localhost -storetype PKCS12 \
            -keystore "$dir/broker.p12" -storepass broker-secret 2>/dev/null
        keytool -exportcert -rfc -alias broker -keystore "$dir/broker.p12" -storepass broker-secret >"$dir/ca.pem" 2>/dev/null
        settings >"$dir/server.properties"
        kafka kafka.tools.StorageTool format -t c2x1aWNlLWxpdmUtMDAwMQ -c "$dir/server.properties" \
            --add-scram 'SCRAM-SHA-512=[name=alice,password=alice-secret]' \
            --add-scram 'SCRAM-SHA-512=[name=bob,password=bob-secret]' >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; exit 70; }
    fi
    # exec: the pid is the broker's own.
    (exec java -Xms128m -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -cp "$jars/*" kafka.Kafka "$dir/server.properties") >>"$dir/broker.log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$dir/pid"
    if [ -n "$parent" ]; then
        (while kill -0 "$parent" 2>/dev/null && kill -0 "$pid" 2>/dev/null; do sleep 1; done
         kill -9 "$pid" 2>/dev/null || true) >/dev/null 2>&1 </dev/null &
    fi
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || { tail -n 30 "$dir/broker.log" >&2; exit 70; }
        # The listener of the broker opens last.
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "127.0.0.1:$port"
            return 0
        fi
        sleep 0.2
    done
    echo "the broker did not open port $port within a minute" >&2
    kill "$pid"
    exit 70
}

[ $# -ge 1 ] || usage
case $1 in
jars) fetch ;;
start)
    [ $# -ge 3 ] || usage
    dir=$2 port=$3 parent=${4:-}
    start
    ;;
stop)
    [ $# -eq 2 ] || usage
    kill "$(cat "$2/pid")"
    ;;
*) usage ;;
esac
