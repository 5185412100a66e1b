// Verifies tokens with jose, and remembers those verified.
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

const REMEMBERED = 10_000;

export class Tokens {
  #keys;
  #verified = new Map();

  constructor(api) {
    this.#keys = createRemoteJWKSet(new URL(`${api}/.well-known/jwks.json`));
  }

  async verify(token) {
    const known = this.#verified.get(token);
    if (known !== undefined && known.exp > Date.now() / 1000) {
      this.#verified.delete(token);
      this.#verified.set(token, known);
      return known;
    }
    const { payload } = await jwtVerify(token, this.#keys, {
      algorithms: ['EdDSA'],
      issuer: 'roomcast',
      audience: 'roomcast',
    });
    this.#verified.set(token, payload);
    if (this.#verified.size > REMEMBERED) this.#verified.delete(this.#verified.keys().next().value);
    return payload;
  }
}

export { errors };
