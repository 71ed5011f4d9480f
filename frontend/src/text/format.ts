const whole = new Intl.NumberFormat('en');

/** 12,345 */
export const count = (n: number | bigint): string => whole.format(n);

const SCALES: [number, string][] = [
  [1e12, ' trillion'],
  [1e9, ' billion'],
  [1e6, ' million'],
];

/** 1.84 billion */
export function large(n: number | bigint): string {
  const value = Number(n);
  for (const [scale, name] of SCALES) {
    if (value >= scale) return `${(value / scale).toFixed(2)}${name}`;
  }
  return whole.format(Math.round(value));
}

/** 98.4 MB */
export function bytes(n: number | bigint): string {
  const value = Number(n);
  if (value >= 1e9) return `${(value / 1e9).toFixed(2)} GB`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} MB`;
  if (value >= 1e3) return `${(value / 1e3).toFixed(1)} kB`;
  return `${value} bytes`;
}

export const hex = (data: Uint8Array | number[]): string =>
  Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join('');

export const plural = (n: number | bigint, one: string): string =>
  `${count(n)} ${one}${Number(n) === 1 ? '' : 's'}`;

/** Today 14:05, or 3 Nov. */
export function when(ns: bigint): string {
  const date = new Date(Number(ns / 1_000_000n));
  const today = new Date().toDateString() === date.toDateString();
  return today
    ? date.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })
    : date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
}
