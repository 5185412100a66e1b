// Drives any number of socket.io-client sockets over stdin and stdout, one JSON object a line.
//
// In:  {"call": 1, "socket": 7, "op": "connect", "url": "…", "options": {auth, transports, extraHeaders, …}}
//      {"call": 2, "socket": 7, "op": "emit", "event": "join-chat", "args": […]}     answered by its acknowledgement
//      {"call": 3, "socket": 7, "op": "close"}
// Out: {"call": 1, "answer": …}                      what a call came to
//      {"socket": 7, "event": "new-msg", "args": […]}  everything received, in order
//      {"socket": 7, "disconnected": "io server disconnect"}
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const sockets = new Map();

function tell(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function connect({ call, socket: id, url, options }) {
  const socket = io(url, { forceNew: true, reconnection: false, ...options });
  sockets.set(id, socket);
  let answered = false;
  const answer = (result) => {
    if (!answered) tell({ call, answer: result });
    answered = true;
  };
  socket.onAny((event, ...args) => tell({ socket: id, event, args }));
  socket.on("connect", () => {
    tell({ socket: id, connected: socket.io.engine.transport.name });
    answer({ connected: true, transport: socket.io.engine.transport.name });
  });
  socket.on("connect_error", (error) =>
    answer({ connected: false, message: error.message, data: error.data ?? null }),
  );
  socket.on("disconnect", (reason) => tell({ socket: id, disconnected: reason }));
}

function emit({ call, socket: id, event, args }) {
  sockets.get(id).emit(event, ...args, (...answer) => tell({ call, answer }));
}

function close({ call, socket: id }) {
  sockets.get(id)?.close();
  sockets.delete(id);
  tell({ call, answer: null });
}

const operations = { connect, emit, close };

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const request = JSON.parse(line);
    operations[request.op](request);
  })
  .on("close", () => process.exit(0));
