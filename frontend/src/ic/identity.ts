import type { Identity } from '@icp-sdk/core/agent';
import { Ed25519KeyIdentity } from '@icp-sdk/core/identity';

/** How the user is known to the canister. */
export type Kind = 'browser' | 'internet-identity';

export interface SignedIn {
  identity: Identity;
  kind: Kind;
}

const KEY = 'identity';
const WEEK_NS = 7n * 24n * 3_600_000_000_000n;

/** The key kept in this browser, made on the first visit. All tabs have the same one. */
export function browserIdentity(): Ed25519KeyIdentity {
  const stored = localStorage.getItem(KEY);
  if (stored) {
    try {
      return Ed25519KeyIdentity.fromJSON(stored);
    } catch {
      // What lies there is no key; keep it aside and begin anew.
      localStorage.setItem(`${KEY}.unreadable`, stored);
    }
  }
  const made = Ed25519KeyIdentity.generate();
  localStorage.setItem(KEY, JSON.stringify(made.toJSON()));
  return made;
}

/** The key as text, to take it to another browser. */
export function exportKey(): string {
  return JSON.stringify(browserIdentity().toJSON());
}

/**
 * Uses another key from now on: one that {@link exportKey} gave, or an Ed25519 key of the command line
 * (PEM, PKCS 8), such as the loader's. Throws where the text is neither.
 */
export function importKey(text: string): void {
  const pem = /-----BEGIN PRIVATE KEY-----([\s\S]+?)-----END PRIVATE KEY-----/.exec(text)?.[1];
  const key = pem ? fromDer(pem) : Ed25519KeyIdentity.fromJSON(text.trim());
  localStorage.setItem(KEY, JSON.stringify(key.toJSON()));
}

/** What stands before an Ed25519 key's 32 bytes: its algorithm's number, and two lengths. */
const BEFORE_SEED = [0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

function fromDer(base64: string): Ed25519KeyIdentity {
  const der = Uint8Array.from(atob(base64.replace(/\s/g, '')), (c) => c.charCodeAt(0));
  const start = der.findIndex((_, at) => BEFORE_SEED.every((byte, i) => der[at + i] === byte));
  const seed = der.slice(start + BEFORE_SEED.length, start + BEFORE_SEED.length + 32);
  if (start < 0 || seed.length < 32) throw new Error('This is no Ed25519 key.');
  return Ed25519KeyIdentity.fromSecretKey(seed);
}

async function client() {
  const { AuthClient } = await import('@icp-sdk/auth/client');
  return new AuthClient({ idleOptions: { disableDefaultIdleCallback: true, disableIdle: true } });
}

const CHOICE = 'signed-in-with';

/** Who was signed in last; loads Internet Identity's client only for those who use it. */
export async function current(): Promise<SignedIn> {
  if (localStorage.getItem(CHOICE) === 'internet-identity') {
    try {
      const auth = await client();
      if (auth.isAuthenticated()) {
        return { identity: await auth.getIdentity(), kind: 'internet-identity' };
      }
    } catch {
      // The session cannot be read any more: sign in again.
    }
    localStorage.removeItem(CHOICE);
  }
  return { identity: browserIdentity(), kind: 'browser' };
}

/** Opens Internet Identity's window. */
export async function signIn(): Promise<void> {
  await (await client()).signIn({ maxTimeToLive: WEEK_NS });
  localStorage.setItem(CHOICE, 'internet-identity');
}

/** Back to the browser's own key. */
export async function signOut(): Promise<void> {
  localStorage.removeItem(CHOICE);
  await (await client()).signOut();
}
