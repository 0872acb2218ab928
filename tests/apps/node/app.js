// Node's own http server without a signal handler.
// GET /fast answers at once, GET /slow?seconds=N after N seconds; the port is $PORT on 127.0.0.1.
const http = require("node:http");

http
  .createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    const seconds = url.pathname === "/slow" ? Number(url.searchParams.get("seconds") ?? 1) : 0;
    const known = url.pathname === "/slow" || url.pathname === "/fast";
    const answer = () => {
      response.writeHead(known ? 200 : 404, { "Content-Type": "text/plain" });
      response.end(url.pathname + "\n");
    };
    if (seconds > 0) setTimeout(answer, seconds * 1000);
    else answer();
  })
  .listen(Number(process.env.PORT), "127.0.0.1");
