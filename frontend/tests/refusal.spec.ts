import { expect, test } from '@playwright/test';
import { readFileSync } from 'node:fs';
import { decode, words } from '../src/ic/refusal';

// The texts that the canister's side is tested with.
const examples = readFileSync(new URL('../../interface/tests/refusals.txt', import.meta.url), 'utf8').trim().split('\n');

test('errors in refusals are read, within the text of a trap', () => {
  expect(examples.length).toBeGreaterThan(4);
  for (const example of examples) {
    const trap = `Canister called \`ic0.trap\` with message: '${example}'.\nConsider handling this.`;
    const error = decode(trap);
    const name = /refused: (\w+):/.exec(example)?.[1];
    expect(Object.keys(error ?? {}), example).toEqual([name]);
    expect(words(trap)).toBe(example.slice('refused: '.length, example.lastIndexOf(' [')));
  }
  expect(decode(examples[1] ?? '')).toEqual({ Busy: 'the queue [of all] is full (limit 64); try again later' });
  expect(decode(examples[3] ?? '')).toEqual({
    QuotaExceeded: { what: 'tokens a day', limit: 5_000n, used: 4_990n, resets_ns: [1_700_000_000_000_000_000n] },
  });
});

test('an error that is not known stays unknown', () => {
  // variant { TooEarly } in Candid.
  const digits = '4449444c016b018fabcec8027f010000';
  expect(decode(`refused: TooEarly: wait [${digits}]`)).toBeNull();
  expect(decode('refused: Busy: no digits')).toBeNull();
  expect(decode('refused: Busy: busy: odd [4449444c]')).toBeNull();
  expect(decode('something else')).toBeNull();
});
