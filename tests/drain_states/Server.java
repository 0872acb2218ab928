// The same on the JDK's own server: `plain`, `tls13`, `tls12` and `no-tickets` on stdin, a port each on stdout.
import com.sun.net.httpserver.*;
import java.io.*;
import java.net.*;
import java.security.KeyStore;
import java.util.concurrent.Executors;
import javax.net.ssl.*;

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

    static HttpsConfigurator tls(String name, String keys) throws Exception {
        char[] password = "password".toCharArray();
        KeyManagerFactory factory = KeyManagerFactory.getInstance("PKIX");
        factory.init(KeyStore.getInstance(new File(keys), password), password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(factory.getKeyManagers(), null, null);
        // In TLS 1.3, no ticket may be valid for longer than a week: no session of eight days gets one.
        if (name.equals("no-tickets")) context.getServerSessionContext().setSessionTimeout(8 * 24 * 3600);
        return new HttpsConfigurator(context) {
            public void configure(HttpsParameters parameters) {
                SSLParameters ours = context.getDefaultSSLParameters();
                ours.setProtocols(new String[] {name.equals("tls12") ? "TLSv1.2" : "TLSv1.3"});
                parameters.setSSLParameters(ours);
            }
        };
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("sun.net.httpserver.idleInterval", "600");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String name; (name = in.readLine()) != null; ) {
            InetSocketAddress address = new InetSocketAddress("127.0.0.1", 0);
            HttpServer server = name.equals("plain") ? HttpServer.create(address, 64) : HttpsServer.create(address, 64);
            if (server instanceof HttpsServer) ((HttpsServer) server).setHttpsConfigurator(tls(name, arguments[0]));
            server.setExecutor(Executors.newCachedThreadPool());
            server.createContext("/", Server::serve);
            server.start();
            System.out.println(server.getAddress().getPort());
        }
    }
}
