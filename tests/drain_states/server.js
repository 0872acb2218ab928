// The same as server.py on Node: `plain`, `tls13`, `tls12`, `no-tickets` and `h2c` on stdin, a port each on stdout; or a path, and `path`.
const http = require("http"), https = require("https"), http2 = require("http2"), fs = require("fs");
const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
const pem = fs.readFileSync(process.argv[2]);

async function serve(request, response) {
  const [, kind, ...rest] = request.url.split("/");
  const args = rest.map(Number);
  if (request.method === "POST") {
    for await (const _ of request);
    await sleep(args[0]);
    return response.end("ok");
  }
  if (kind === "size") return response.end("x".repeat(args[0]));
  if (kind === "slow") await sleep(args[0]);
  if (kind === "headers") { response.flushHeaders(); await sleep(args[0]); }
  if (kind === "part") { response.write("x".repeat(3000)); await sleep(args[0]); }
  if (kind === "events")
    for (let n = 0; n < args[1]; n++) { response.write("data: something\n\n"); await sleep(args[0]); }
  if (kind === "hints") { response.writeEarlyHints({ link: "</style.css>; rel=preload" }); await sleep(args[0]); }
  response.end("ok");
}

// SSL_OP_NO_TICKET leaves two tickets in TLS 1.3, and their number can only be set in OpenSSL's file, for a whole process.
let without;
function withoutTickets() {
  const file = process.argv[2] + ".cnf";
  fs.writeFileSync(file, "nodejs_conf = node\n[node]\nssl_conf = ssl\n[ssl]\nsystem_default = all\n[all]\nNumTickets = 0\n");
  const argv = ["--openssl-config=" + file, ...process.argv.slice(1)];
  return require("child_process").spawn(process.execPath, argv, { stdio: ["pipe", "inherit", "inherit"] }).stdin;
}

require("readline").createInterface({ input: process.stdin }).on("line", (tls) => {
  const options = { key: pem, cert: pem };
  if (tls.startsWith("/")) return http.createServer(serve).listen(tls, () => console.log("path"));
  if (tls === "no-tickets") return (without ??= withoutTickets()).write("tls13\n");
  if (tls === "tls12") options.maxVersion = "TLSv1.2";
  const server = tls === "plain" ? http.createServer(serve) : tls === "h2c" ? http2.createServer(serve) : https.createServer(options, serve);
  server.keepAliveTimeout = 600000;
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}).on("close", () => process.exit());
