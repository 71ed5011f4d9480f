import { createSHA256, createXXHash64 } from 'hash-wasm';

/** What the page asks: hash a file in chunks of this size. */
export interface Order {
  file: File;
  chunkSize: number;
}

export type News =
  | { done: number }
  | { sha256: Uint8Array; checksums: BigUint64Array }
  | { error: string };

/** The hashes of the upload's manifest, away from the page's own thread. */
async function work({ file, chunkSize }: Order): Promise<void> {
  const [whole, chunk] = await Promise.all([createSHA256(), createXXHash64()]);
  whole.init();
  const count = Math.ceil(file.size / chunkSize);
  const checksums = new BigUint64Array(count);
  for (let index = 0; index < count; index++) {
    const bytes = new Uint8Array(await file.slice(index * chunkSize, (index + 1) * chunkSize).arrayBuffer());
    whole.update(bytes);
    chunk.init();
    checksums[index] = new DataView(chunk.update(bytes).digest('binary').slice().buffer).getBigUint64(0);
    say({ done: index * chunkSize + bytes.length });
  }
  say({ sha256: whole.digest('binary'), checksums });
}

const say = (news: News) => postMessage(news);

onmessage = ({ data }: MessageEvent<Order>) => {
  work(data).catch((error: unknown) => say({ error: String(error) }));
};
