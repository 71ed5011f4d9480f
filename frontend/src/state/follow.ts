import type { Generation, RoundFigures } from '../bindings/llm.did';
import { message, ok, Refused, type Backend } from '../ic/backend';
import { lost, nudge } from './session';

/** An answer as far as it is known here. */
export interface Progress {
  /** The canister's last word on it, without the text. */
  generation: Generation;
  text: string;
  /** All rounds seen here by their number; those before this page looked are missing. */
  rounds: Map<number, RoundFigures>;
  /** Tokens per second, as seen from here; null until there are some. */
  speed: number | null;
}

const FAST = 120;
const SLOW = 1_500;
const HIDDEN = 3_000;
const LONGEST_RETRY = 8_000;

/** Whether a generation has ended. */
export const ended = (generation: Generation): boolean =>
  'Finished' in generation.state || 'Failed' in generation.state;

/**
 * Reads what a generation produces until it ends or `signal` is aborted; a lost connection is waited
 * for. Asks often while text comes, and less and less often while none does.
 */
export async function follow(
  backend: Backend,
  id: bigint,
  signal: AbortSignal,
  news: (progress: Progress) => void,
): Promise<Progress | null> {
  let byte = 0;
  let token = 0;
  let text = '';
  let speed: number | null = null;
  let first: { time: number; tokens: number } | null = null;
  let pause = FAST;
  const rounds = new Map<number, RoundFigures>();

  while (!signal.aborted) {
    let generation: Generation;
    try {
      generation = ok(await backend.canister.generation({ id, from_byte: byte, from_token: token }));
    } catch (error) {
      if (error instanceof Refused) throw error;
      lost.value = message(error);
      pause = Math.min(Math.max(pause * 2, 500), LONGEST_RETRY);
      await sleep(pause, signal);
      continue;
    }
    if (signal.aborted) return null;
    if (lost.value) {
      lost.value = null;
      nudge();
    }
    // Another node may be behind the one that answered before.
    const grown = generation.next_byte > byte || generation.next_token > token;
    if (generation.next_byte >= byte && generation.next_token >= token) {
      text += generation.text;
      byte = generation.next_byte;
      token = generation.next_token;
      const before = generation.rounds - generation.recent_rounds.length;
      generation.recent_rounds.forEach((round, i) => rounds.set(before + i, round));
      const now = performance.now();
      if (token > 0) {
        first ??= { time: now, tokens: token };
        if (token > first.tokens) speed = ((token - first.tokens) * 1000) / (now - first.time);
      }
      const progress = { generation, text, rounds, speed };
      news(progress);
      if (ended(generation)) return progress;
    }
    pause = grown ? FAST : Math.min(pause * 1.5, SLOW);
    await sleep(document.hidden ? HIDDEN : pause, signal);
  }
  return null;
}

/** Waits, not longer than until the page is looked at or online again. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener('online', end);
      document.removeEventListener('visibilitychange', end);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    addEventListener('online', end);
    document.addEventListener('visibilitychange', end);
    signal.addEventListener('abort', end);
  });
}
