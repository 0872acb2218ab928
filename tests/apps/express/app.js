// Express without a signal handler.
// GET or POST /fast answers at once, GET /slow?seconds=N after N seconds; the port is $PORT on 127.0.0.1.
// NODE_PATH names the folder that has express.
const express = require("express");

const app = express();
app.all("/fast", (_, response) => response.send("fast\n"));
app.get("/slow", (request, response) => {
  setTimeout(() => response.send("slow\n"), Number(request.query.seconds ?? 1) * 1000);
});
app.listen(Number(process.env.PORT), "127.0.0.1");
