// The JDK's own HTTP server, run from one source file, without a shutdown hook: TERM ends the JVM with its requests.
// GET /fast answers at once, GET /slow?seconds=N after N seconds; the port is $PORT on 127.0.0.1.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

public class App {
    public static void main(String[] args) throws IOException {
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 128);
        server.createContext("/fast", exchange -> answer(exchange, "fast\n"));
        server.createContext("/slow", App::slow);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
    }

    static void slow(HttpExchange exchange) throws IOException {
        String query = exchange.getRequestURI().getQuery();
        double seconds = 1;
        if (query != null && query.startsWith("seconds=")) {
            seconds = Double.parseDouble(query.substring("seconds=".length()));
        }
        try {
            Thread.sleep((long) (seconds * 1000));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        answer(exchange, "slow\n");
    }

    static void answer(HttpExchange exchange, String body) throws IOException {
        byte[] bytes = body.getBytes();
        exchange.sendResponseHeaders(200, bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }
}
