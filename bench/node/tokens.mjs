// Verifies tokens with jose, and remembers those verified.
import { jwtVerify } from 'jose';

const REMEMBERED = 10_000;
const OPTIONS = { algorithms: ['EdDSA'], issuer: 'roomcast', audience: 'roomcast' };

export class Tokens {
  #keys;
  #verified = new Map();

  constructor(keys) {
    this.#keys = keys;
  }

  async verify(token) {
    const known = this.#verified.get(token);
    if (known !== undefined && known.exp > Date.now() / 1000) {
      this.#verified.delete(token);
      this.#verified.set(token, known);
      return known;
    }
    const { payload } = await jwtVerify(token, this.#keys, OPTIONS);
    this.#verified.set(token, payload);
    if (this.#verified.size > REMEMBERED) this.#verified.delete(this.#verified.keys().next().value);
    return payload;
  }
}
