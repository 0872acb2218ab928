// The same on the JDK's own server, plain only: a port for each line on stdin.
import com.sun.net.httpserver.*;
import java.io.*;
import java.net.*;
import java.util.concurrent.Executors;

class Server {
    static void serve(HttpExchange exchange) throws IOException {
        String[] path = exchange.getRequestURI().getPath().split("/");
        double argument = path.length > 2 ? Double.parseDouble(path[2]) : 0;
        long pause = (long) (1000 * argument);
        exchange.getRequestBody().readAllBytes();
        try {
            if (path[1].equals("slow") || path[1].equals("upload")) Thread.sleep(pause);
            if (path[1].equals("size") || path[1].equals("fast") || path[1].equals("slow") || path[1].equals("upload")) {
                byte[] body = new byte[path[1].equals("size") ? (int) argument : 2];
                exchange.sendResponseHeaders(200, body.length);
                exchange.getResponseBody().write(body);
                exchange.getResponseBody().close();
            } else {
                exchange.sendResponseHeaders(200, 0);
                OutputStream out = exchange.getResponseBody();
                int times = path[1].equals("events") ? (int) Double.parseDouble(path[3]) : 1;
                for (int n = 0; n < times; n++) {
                    if (!path[1].equals("headers")) { out.write("x".repeat(300).getBytes()); out.flush(); }
                    Thread.sleep(pause);
                }
                out.write("the rest".getBytes());
                out.close();
            }
        } catch (InterruptedException e) {
            throw new IOException(e);
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("sun.net.httpserver.idleInterval", "600");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        while (in.readLine() != null) {
            HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 64);
            server.setExecutor(Executors.newCachedThreadPool());
            server.createContext("/", Server::serve);
            server.start();
            System.out.println(server.getAddress().getPort());
        }
    }
}
