import { computed, signal } from '@preact/signals';
import type { Status } from '../bindings/llm.did';
import { connect, message, type Backend } from '../ic/backend';
import { current, type Kind } from '../ic/identity';
import { networkOf } from '../ic/network';

/** The network this page belongs to; null where its address names no canister. */
export const network = networkOf(new URL(location.href));

export const backend = signal<Backend | null>(null);
export const kind = signal<Kind>('browser');
/** What the canister does; null until it was heard of. */
export const status = signal<Status | null>(null);
/** Why the canister cannot be heard, while it cannot. */
export const lost = signal<string | null>(null);
/** Whether the caller controls the canister. */
export const controls = signal(false);

export const phase = computed(() => Object.keys(status.value?.model.phase ?? {})[0] ?? null);
export const ready = computed(() => phase.value === 'Ready');

const RESTING = 15_000;
const BUSY = 1_000;
const FIRST_RETRY = 500;
const LAST_RETRY = 8_000;

let wake: (() => void) | undefined;

/** Sleeps; {@link nudge} ends it early. */
function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

/** Looks at the status now. */
export function nudge(): void {
  wake?.();
}

/** Connects, then watches the status for as long as the page is open. */
export async function start(): Promise<void> {
  if (!network) return;
  addEventListener('online', nudge);
  document.addEventListener('visibilitychange', nudge);
  let retry = FIRST_RETRY;
  for (;;) {
    try {
      if (!backend.value) {
        const who = await current();
        kind.value = who.kind;
        backend.value = await connect(network, who.identity);
        void learnRole(backend.value);
      }
      status.value = await backend.value.canister.status();
      lost.value = null;
      retry = FIRST_RETRY;
      await sleep(document.hidden || phase.value === 'Ready' || phase.value === 'Empty' ? RESTING : BUSY);
    } catch (error) {
      lost.value = message(error);
      await sleep(retry);
      retry = Math.min(retry * 2, LAST_RETRY);
    }
  }
}

/** Asks the certified state who the controllers are. */
export async function learnRole(of: Backend): Promise<void> {
  try {
    const controllers = await of.controllers();
    controls.value = controllers.some((p) => p.toText() === of.principal.toText());
  } catch {
    controls.value = false;
  }
}
