import type { Identity } from '@icp-sdk/core/agent';
import { Ed25519KeyIdentity } from '@icp-sdk/core/identity';

/** How the canister knows the user. */
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
      // What is stored is not a key: keep it aside, and make a new one.
      localStorage.setItem(`${KEY}.unreadable`, stored);
    }
  }
  const made = Ed25519KeyIdentity.generate();
  localStorage.setItem(KEY, JSON.stringify(made.toJSON()));
  return made;
}

/** What stands before the 32 bytes of an Ed25519 key in PKCS 8 (RFC 8410). */
const PKCS8 = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/** Its end: the algorithm's number, and two lengths. */
const BEFORE_SEED = PKCS8.slice(7);

/** Returns the browser's key as text (PEM), for another browser or the command line. */
export function exportKey(): string {
  const seed = new Uint8Array(browserIdentity().getKeyPair().secretKey).slice(0, 32);
  const der = String.fromCharCode(...PKCS8, ...seed);
  return `-----BEGIN PRIVATE KEY-----\n${btoa(der)}\n-----END PRIVATE KEY-----\n`;
}

const KINDS = 'You can paste a key that this page saved, or an Ed25519 key of the command line (PEM, “-----BEGIN PRIVATE KEY-----”).';

/**
 * Returns the key in a text: one that {@link exportKey} returned, or an Ed25519 key of the command line (PEM,
 * PKCS 8), such as the loader's. Throws an error that says what the text is if it is neither.
 */
export function readKey(text: string): Ed25519KeyIdentity {
  const kind = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1];
  if (kind === undefined) {
    try {
      return Ed25519KeyIdentity.fromJSON(text.trim());
    } catch {
      throw new Error(`This is not a key. ${KINDS}`);
    }
  }
  if (kind.startsWith('ENCRYPTED') || text.includes('Proc-Type: 4,ENCRYPTED')) {
    throw new Error(`This key is encrypted with a password: paste it without one. ${KINDS}`);
  }
  if (kind.endsWith('PUBLIC KEY')) throw new Error(`This is a public key, and the private key is needed. ${KINDS}`);
  const body = /-----BEGIN PRIVATE KEY-----([\s\S]+?)-----END PRIVATE KEY-----/.exec(text)?.[1];
  const key = body === undefined ? null : fromDer(body);
  if (!key) throw new Error(`This is not an Ed25519 key. ${KINDS}`);
  return key;
}

function fromDer(base64: string): Ed25519KeyIdentity | null {
  let der: Uint8Array;
  try {
    der = Uint8Array.from(atob(base64.replace(/\s/g, '')), (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
  const start = der.findIndex((_, at) => BEFORE_SEED.every((byte, i) => der[at + i] === byte));
  const seed = der.slice(start + BEFORE_SEED.length, start + BEFORE_SEED.length + 32);
  return start < 0 || seed.length < 32 ? null : Ed25519KeyIdentity.fromSecretKey(seed);
}

/** Uses another key from now on; the one of before is gone from this browser. */
export function useKey(key: Ed25519KeyIdentity): void {
  localStorage.setItem(KEY, JSON.stringify(key.toJSON()));
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

/** Returns to the browser's own key. */
export async function signOut(): Promise<void> {
  localStorage.removeItem(CHOICE);
  await (await client()).signOut();
}
