// DynamoDB Local in memory and on loopback alone; its own starter listens on every interface.
//
//     java -cp 'FOLDER/*' DynamoDbLocal.java [PORT [PIDFILE]]
//
// Listens on a free port unless one is given; prints its URL once it listens. Ends by SIGTERM, and, where its standard input is a
// pipe, when that pipe is closed: a test that dies takes its server with it.

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

import com.amazonaws.services.dynamodbv2.local.main.ServerRunner;
import com.amazonaws.services.dynamodbv2.local.server.DynamoDBProxyServer;
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;

public class DynamoDbLocal {
    public static void main(String[] args) throws Exception {
        var port = args.length > 0 ? args[0] : "0";
        // Standard output is for the URL; the starter greets there.
        var out = System.out;
        System.setOut(System.err);
        var proxy = ServerRunner.createServerFromCommandLineArgs(new String[] {"-inMemory", "-disableTelemetry"});
        var field = DynamoDBProxyServer.class.getDeclaredField("server");
        field.setAccessible(true);
        var server = (Server) field.get(proxy);
        for (Connector connector : server.getConnectors()) {
            server.removeConnector(connector);
        }
        var loopback = new ServerConnector(server);
        loopback.setHost("127.0.0.1");
        loopback.setPort(Integer.parseInt(port));
        server.addConnector(loopback);
        proxy.start();
        if (isPipe()) {
            endWithParent();
        }
        if (args.length > 1) {
            Files.writeString(Path.of(args[1]), ProcessHandle.current().pid() + "\n");
        }
        out.println("http://127.0.0.1:" + loopback.getLocalPort());
        server.join();
    }

    static boolean isPipe() throws IOException {
        var input = Path.of("/proc/self/fd/0");
        if (!Files.exists(input, java.nio.file.LinkOption.NOFOLLOW_LINKS)) {
            return false;
        }
        var target = Files.readSymbolicLink(input).toString();
        return target.startsWith("pipe:") || target.startsWith("socket:");
    }

    static void endWithParent() {
        var watch = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {}
            } catch (IOException closed) {
                // As good as its end.
            }
            Runtime.getRuntime().halt(0);
        });
        watch.setDaemon(true);
        watch.start();
    }
}
