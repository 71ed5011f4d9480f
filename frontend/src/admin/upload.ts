import { signal } from '@preact/signals';
import type { Manifest } from '../bindings/llm.did';
import { message, ok, Refused, type Canister } from '../ic/backend';
import { nudge } from '../state/session';
import type { News } from './hash.worker';

/** Bytes of a chunk: with its envelope it fits a message. */
const CHUNK = 1_900_000;
const PARALLEL = 4;
const LONGEST_RETRY = 10_000;

export interface Upload {
  name: string;
  step: 'hashing' | 'sending' | 'done' | 'failed' | 'paused';
  done: number;
  total: number;
  error: string | null;
}

/** The upload of this tab; null before the first. */
export const upload = signal<Upload | null>(null);

let control: AbortController | null = null;

/** Stops sending; what the canister has, it keeps. */
export function pause(): void {
  control?.abort();
}

/**
 * Sends a file, or what is missing of it: an upload that broke off goes on where it was if it is the
 * same file. Each chunk is checked by the canister when it arrives, the whole by its SHA-256.
 */
export async function send(canister: Canister, file: File): Promise<void> {
  control?.abort();
  const mine = (control = new AbortController());
  const say = (some: Partial<Upload>) => {
    if (control === mine && upload.value) upload.value = { ...upload.value, ...some };
  };
  upload.value = { name: file.name, step: 'hashing', done: 0, total: file.size, error: null };
  try {
    const { models } = await canister.models();
    const begun = models.find(
      (m) => 'Uploading' in m.status.phase && m.status.manifest[0]?.size === BigInt(file.size),
    );
    const chunkSize = begun?.status.manifest[0]?.chunk_size ?? CHUNK;
    const hashes = await hash(file, chunkSize, mine.signal, (done) => say({ done }));
    const manifest: Manifest = {
      name: file.name,
      size: BigInt(file.size),
      chunk_size: chunkSize,
      ...hashes,
    };
    say({ step: 'sending', done: 0 });
    ok(await canister.upload_begin(manifest));
    nudge();
    await sendMissing(canister, file, chunkSize, mine.signal, (done) => say({ done }));
    ok(await canister.upload_commit());
    say({ step: 'done', done: file.size });
  } catch (error) {
    if (mine.signal.aborted) say({ step: 'paused' });
    else say({ step: 'failed', error: message(error) });
  }
  nudge();
}

function hash(
  file: File,
  chunkSize: number,
  signal: AbortSignal,
  progress: (done: number) => void,
): Promise<{ sha256: Uint8Array; checksums: BigUint64Array }> {
  const worker = new Worker(new URL('./hash.worker.ts', import.meta.url), { type: 'module' });
  return new Promise<{ sha256: Uint8Array; checksums: BigUint64Array }>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<News>) => {
      if ('done' in data) progress(data.done);
      else if ('error' in data) reject(new Error(data.error));
      else resolve(data);
    };
    worker.onerror = (event) => reject(new Error(event.message || 'The file could not be hashed.'));
    signal.addEventListener('abort', () => reject(new Error('Paused.')));
    worker.postMessage({ file, chunkSize });
  }).finally(() => worker.terminate());
}

async function sendMissing(
  canister: Canister,
  file: File,
  chunkSize: number,
  signal: AbortSignal,
  progress: (done: number) => void,
): Promise<void> {
  const missing: number[] = [];
  for (const { start, end } of await canister.upload_missing()) {
    for (let index = start; index < end; index++) missing.push(index);
  }
  const size = (index: number) => Math.min(chunkSize, file.size - index * chunkSize);
  let done = file.size - missing.reduce((sum, index) => sum + size(index), 0);
  progress(done);
  const sender = async () => {
    for (let index = missing.shift(); index !== undefined; index = missing.shift()) {
      const start = index * chunkSize;
      const data = new Uint8Array(await file.slice(start, start + size(index)).arrayBuffer());
      await persist(async () => ok(await canister.upload_chunk({ index: index as number, data })), signal);
      done += data.length;
      progress(done);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, sender));
}

/** Tries until it works, unless the canister refuses for good or the user pauses. */
async function persist(what: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
  for (let wait = 500; ; wait = Math.min(wait * 2, LONGEST_RETRY)) {
    if (signal.aborted) throw new Error('Paused.');
    try {
      await what();
      return;
    } catch (error) {
      if (error instanceof Refused && !('WrongChunk' in error.reason)) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
