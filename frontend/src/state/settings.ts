import { effect, signal } from '@preact/signals';
import type { Options } from '../bindings/llm.did';

/** How answers are sampled, and what a new chat begins with. Kept in this browser. */
export interface Settings {
  temperature: number;
  topP: number;
  topK: number;
  repetitionPenalty: number;
  maxTokens: number;
  /** Empty: another one each time. */
  seed: string;
  system: string;
}

export const defaults: Settings = {
  temperature: 0.7,
  topP: 0.9,
  topK: 40,
  repetitionPenalty: 1.1,
  maxTokens: 512,
  seed: '',
  system: '',
};

const KEY = 'settings';

function stored(): Settings {
  try {
    return { ...defaults, ...JSON.parse(localStorage.getItem(KEY) ?? '{}') };
  } catch {
    return defaults;
  }
}

export const settings = signal<Settings>(stored());
effect(() => localStorage.setItem(KEY, JSON.stringify(settings.value)));

/** Returns the canister's options. `again`: for another answer to the same question, with another seed. */
export function options(from: Settings, again = false): Options {
  return {
    temperature: [from.temperature],
    top_p: [from.topP],
    top_k: [from.topK],
    repetition_penalty: [from.repetitionPenalty],
    max_tokens: [from.maxTokens],
    seed: validSeed(from.seed) && !again ? [BigInt(from.seed)] : [],
    stop: [],
  };
}

/** Returns true if a text is a seed: a whole number of 64 bits. */
export const validSeed = (text: string): boolean => /^\d{1,20}$/.test(text) && BigInt(text) < 2n ** 64n;

/** Returns what is wrong with the settings, in a sentence; null if nothing is. */
export function wrongSetting(of: Settings): string | null {
  if (of.seed === '' || validSeed(of.seed)) return null;
  return `The seed “${of.seed}” in the settings is not a whole number from 0 to 18446744073709551615. Change it, or leave it empty.`;
}
