import type { Config } from '../bindings/llm.did';
import { count, plural } from '../text/format';

/** A unit in which a setting is shown: so many of the canister's own. */
interface Unit {
  name: string;
  size: bigint;
}

const ONE = (name: string): Unit => ({ name, size: 1n });
const GIB: Unit = { name: 'GiB', size: 1n << 30n };
const TRILLION: Unit = { name: 'T cycles', size: 10n ** 12n };
const BILLION: Unit = { name: 'billion instructions', size: 10n ** 9n };

export type Key = Exclude<keyof Config, 'access'>;

/** A setting that is a number. */
export interface Field {
  key: Key;
  label: string;
  unit: Unit;
  /** What 0 means, where it is not simply none. */
  zero?: string;
  /** The smallest and the largest value, in the canister's own unit. */
  least: bigint;
  most: bigint;
}

const U32 = 2n ** 32n - 1n;
const U64 = 2n ** 64n - 1n;

const GROUPS: { title: string; fields: Field[] }[] = [
  {
    title: 'Answers',
    fields: [
      { key: 'max_generations', label: 'Answers at once', unit: ONE('answers'), least: 1n, most: 10_000n },
      { key: 'max_output_tokens', label: 'Longest answer', unit: ONE('tokens'), least: 1n, most: U32 },
      { key: 'max_context_tokens', label: 'Longest context', unit: ONE('tokens'), least: 2n, most: U32 },
      { key: 'round_instructions', label: 'Work of a round', unit: BILLION, least: 10n ** 6n, most: 40n * 10n ** 9n },
    ],
  },
  {
    title: 'Callers',
    fields: [
      { key: 'tokens_per_day', label: 'Tokens per day and caller', unit: ONE('tokens'), zero: 'any number', least: 0n, most: U64 },
      { key: 'tokens_in_flight', label: 'Tokens at once and caller', unit: ONE('tokens'), zero: 'any number', least: 0n, most: U64 },
      { key: 'generations_per_caller', label: 'Answers at once and caller', unit: ONE('answers'), zero: 'any number', least: 0n, most: U32 },
      { key: 'chats_per_caller', label: 'Chats of a caller', unit: ONE('chats'), zero: 'any number', least: 0n, most: U32 },
      { key: 'controller_weight', label: "A controller's share, as a multiple of others'", unit: ONE('times'), least: 1n, most: 100n },
    ],
  },
  {
    title: 'Memory',
    fields: [
      { key: 'max_kv_bytes', label: 'Largest cache', unit: GIB, least: 0n, most: U64 },
      { key: 'max_stable_bytes', label: 'Largest stable memory', unit: GIB, least: 1n, most: U64 },
    ],
  },
  {
    title: 'Cycles',
    fields: [
      { key: 'min_cycles', label: 'Work stops below', unit: TRILLION, least: 0n, most: 2n ** 128n - 1n },
      { key: 'cycles_per_million_tokens', label: 'Price of a million tokens', unit: TRILLION, zero: 'free', least: 0n, most: U64 },
    ],
  },
];

/** Returns the settings by subject; what this page does not know of comes last, as it is. */
export function groups(config: Config): { title: string; fields: Field[] }[] {
  const known = new Set<string>(GROUPS.flatMap((group) => group.fields.map((field) => field.key)));
  const others = Object.entries(config)
    .filter(([key, value]) => !known.has(key) && ['number', 'bigint'].includes(typeof value))
    .map(([key]): Field => ({ key: key as Key, label: key.replaceAll('_', ' '), unit: ONE(''), least: 0n, most: U64 }));
  return others.length > 0 ? [...GROUPS, { title: 'Other', fields: others }] : GROUPS;
}

const DECIMALS = 9;

/** Returns a value in its field's unit, as it stands in the field: with at most nine decimals. */
export function toText(field: Field, value: number | bigint): string {
  const scaled = (BigInt(value) * 10n ** BigInt(DECIMALS)) / field.unit.size;
  const whole = scaled / 10n ** BigInt(DECIMALS);
  const part = String(scaled % 10n ** BigInt(DECIMALS)).padStart(DECIMALS, '0').replace(/0+$/, '');
  return part ? `${count(whole)}.${part}` : count(whole);
}

/** Returns a value with its unit, for reading. */
export function shown(field: Field, value: number | bigint): string {
  if (BigInt(value) === 0n && field.zero) return field.zero;
  if (field.unit.size === 1n && field.unit.name.endsWith('s')) return plural(value, field.unit.name.slice(0, -1));
  return `${toText(field, value)} ${field.unit.name}`.trim();
}

/** Returns the value in a text, or what is wrong with it. */
export function ofText(field: Field, text: string, big: boolean): { value?: number | bigint; wrong?: string } {
  const range = `${toText(field, field.least)} to ${toText(field, field.most)} ${field.unit.name}`.trim();
  if (text === '') return { wrong: `${field.label}: a value is missing. Expected ${range}.` };
  const [, whole, part = ''] = /^(\d+)(?:\.(\d{0,18}))?$/.exec(text.replace(/[\s,_]/g, '')) ?? [];
  if (whole === undefined) return { wrong: `${field.label}: “${text}” is not a number. Expected ${range}.` };
  const scaled = BigInt(whole + part) * field.unit.size;
  const parts = 10n ** BigInt(part.length);
  const value = scaled / parts;
  if (field.unit.size === 1n && scaled % parts !== 0n) {
    return { wrong: `${field.label}: “${text}” is not a whole number. Expected ${range}.` };
  }
  if (value < field.least || value > field.most) return { wrong: `${field.label}: ${text} is out of range. Expected ${range}.` };
  return { value: big ? value : Number(value) };
}
