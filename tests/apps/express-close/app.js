// Express that closes its server on TERM, as its documentation advises: requests in flight are finished, then it exits.
// GET or POST /fast answers at once, GET /slow?seconds=N after N seconds; the port is $PORT on 127.0.0.1.
const express = require("express");

const app = express();
app.all("/fast", (_, response) => response.send("fast\n"));
app.get("/slow", (request, response) => {
  setTimeout(() => response.send("slow\n"), Number(request.query.seconds ?? 1) * 1000);
});
const server = app.listen(Number(process.env.PORT), "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
