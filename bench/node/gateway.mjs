// The reference on Node: the same job as Roomcast's gateway. It verifies tokens (and remembers them), asks the
// API on `join-chat`, relays events of the bus into rooms. WebSocket frames are encoded once an event
// (perMessageDeflate off), connections to the API are kept, nothing is acknowledged to the broker or logged.
import { createServer } from 'node:http';
import amqp from 'amqplib';
import { createRemoteJWKSet } from 'jose';
import { Server } from 'socket.io';
import { Pool } from 'undici';
import { Tokens } from './tokens.mjs';

const { API_URL, EXCHANGE, GATEWAY_PORT, RABBITMQ_URL, ROUTING_KEY } = process.env;
const PREFETCH = 1000;
const BACKLOG = 4096;

const api = new Pool(API_URL, { connections: 64, pipelining: 1 });
const tokens = new Tokens(createRemoteJWKSet(new URL(`${API_URL}/.well-known/jwks.json`)));
const server = createServer();
const io = new Server(server, { perMessageDeflate: false, httpCompression: false, serveClient: false });

io.use(async (socket, next) => {
  try {
    const { token } = socket.handshake.auth;
    socket.data.claims = await tokens.verify(token);
    socket.data.token = token;
    next();
  } catch {
    next(new Error('token_invalid'));
  }
});

io.on('connection', (socket) => {
  const { sub, sid } = socket.data.claims;
  socket.join(`user:${sub}`);
  socket.emit('connected', { userId: sub, sessionId: sid, socketId: socket.id });
  socket.on('join-chat', async (chatId, ack) => {
    const { statusCode, body } = await api.request({
      method: 'GET',
      path: `/api/chat/${chatId}/sync`,
      headers: { authorization: `Bearer ${socket.data.token}` },
    });
    const state = await body.json();
    if (statusCode !== 200) {
      ack({ ok: false, error: { code: 'not_found', message: 'No such chat.' } });
      return;
    }
    socket.join(`chat:${chatId}`);
    ack({ ...state, ok: true, chatId });
  });
});

function relay({ content, properties: { headers } }) {
  const body = JSON.parse(content);
  io.to(headers.cloudEvents_rooms).emit(headers.cloudEvents_name, body);
  const users = headers.cloudEvents_users;
  if (users?.length) {
    const activity = { chatId: body.chatId, lastSeq: body.seq, lastMessage: body };
    io.to(users.map((user) => `user:${user}`)).emit('chat-activity', activity);
  }
}

const connection = await amqp.connect(RABBITMQ_URL);
const channel = await connection.createChannel();
await channel.prefetch(PREFETCH);
const { queue } = await channel.assertQueue('', { exclusive: true });
await channel.bindQueue(queue, EXCHANGE, ROUTING_KEY);
await channel.consume(queue, relay, { noAck: true });

process.on('SIGUSR2', () => globalThis.gc?.());
server.listen(Number(GATEWAY_PORT), '127.0.0.1', BACKLOG, () => console.log('ready'));
