// The reference API on Node: fastify and pg. A post is one prepared statement (membership, seq, insert), and is
// answered once the broker has confirmed its event. Verified tokens are remembered; nothing is logged.
import { randomUUID } from 'node:crypto';
import amqp from 'amqplib';
import Fastify from 'fastify';
import { createLocalJWKSet } from 'jose';
import pg from 'pg';
import { Tokens } from './tokens.mjs';

const { API_PORT, DATABASE_URL, EXCHANGE, JWKS, RABBITMQ_URL, ROUTING_KEY } = process.env;

const POST = `
  WITH chat AS (
    UPDATE chats SET last_seq = last_seq + 1, updated_at = date_trunc('milliseconds', clock_timestamp())
    WHERE id = $1 AND EXISTS (SELECT 1 FROM members WHERE chat_id = $1 AND user_id = $2)
    RETURNING last_seq, updated_at
  ), message AS (
    INSERT INTO messages (id, chat_id, seq, role, user_id, content, time)
    SELECT $3, $1, last_seq, 'USER', $2, $4, updated_at FROM chat
    RETURNING seq, time
  )
  SELECT seq, time, (SELECT array_agg(user_id) FROM members WHERE chat_id = $1) AS users FROM message`;
const SYNC = 'SELECT last_seq FROM chats JOIN members ON chat_id = id WHERE id = $1 AND user_id = $2';
const BODY = {
  type: 'object',
  required: ['chatId', 'content'],
  additionalProperties: false,
  properties: {
    chatId: { type: 'string', format: 'uuid' },
    content: { type: 'string', minLength: 1, maxLength: 32000 },
  },
};

const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 10 });
const connection = await amqp.connect(RABBITMQ_URL);
const channel = await connection.createConfirmChannel();
const tokens = new Tokens(createLocalJWKSet(JSON.parse(JWKS)));
const app = Fastify({ logger: false });

app.decorateRequest('caller', '');
async function authenticate(request, reply) {
  try {
    const [, token] = request.headers.authorization.split(' ');
    request.caller = (await tokens.verify(token)).sub;
  } catch {
    return reply.code(401).send({ code: 'token_invalid' });
  }
}

function published(body, headers) {
  return new Promise((resolve, reject) => {
    const properties = { contentType: 'application/json', headers };
    channel.publish(EXCHANGE, ROUTING_KEY, Buffer.from(body), properties, (error) => (error ? reject(error) : resolve()));
  });
}

app.post('/api/chat/messages', { schema: { body: BODY }, preHandler: authenticate }, async (request, reply) => {
  const { chatId, content } = request.body;
  const id = randomUUID();
  const { rows } = await pool.query({ name: 'post', text: POST, values: [chatId, request.caller, id, content] });
  if (rows.length === 0) return reply.code(404).send({ code: 'not_found' });
  const { seq, time, users } = rows[0];
  const message = {
    id,
    chatId,
    seq: Number(seq),
    role: 'USER',
    userId: request.caller,
    content,
    time: time.toISOString(),
    replyTo: null,
    metadata: null,
    editedAt: null,
    deletedAt: null,
  };
  const body = JSON.stringify(message);
  await published(body, {
    cloudEvents_specversion: '1.0',
    cloudEvents_id: id,
    cloudEvents_source: '/roomcast/api',
    cloudEvents_type: 'message.created',
    cloudEvents_time: message.time,
    cloudEvents_subject: chatId,
    cloudEvents_name: 'new-msg',
    cloudEvents_rooms: [`chat:${chatId}`],
    cloudEvents_seq: message.seq,
    cloudEvents_users: users,
  });
  return reply.code(201).type('application/json; charset=utf-8').send(body);
});

app.get('/api/chat/:chatId/sync', { preHandler: authenticate }, async (request, reply) => {
  const { chatId } = request.params;
  const { rows } = await pool.query({ name: 'sync', text: SYNC, values: [chatId, request.caller] });
  if (rows.length === 0) return reply.code(404).send({ code: 'not_found' });
  return { ok: true, chatId, lastSeq: Number(rows[0].last_seq), missed: [], hasMore: false, reply: null, online: [] };
});

app.get('/.well-known/jwks.json', (_, reply) => reply.type('application/json').send(JWKS));

await app.listen({ port: Number(API_PORT), host: '127.0.0.1', backlog: 4096 });
console.log('ready');
