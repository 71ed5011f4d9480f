import { useState } from 'preact/hooks';
import type { Config, ConfigPatch } from '../bindings/llm.did';
import { message, ok } from '../ic/backend';
import { backend, controls, nudge } from '../state/session';
import { count } from '../text/format';

const WORDS: Record<string, string> = {
  round_instructions: 'Instructions of a round',
  max_context_tokens: 'Longest context (tokens)',
  max_generations: 'Answers at once',
  max_output_tokens: 'Longest answer (tokens)',
  tokens_per_day: 'Tokens a day and caller (0: any)',
  tokens_in_flight: 'Tokens at once and caller (0: any)',
  generations_per_caller: 'Answers at once and caller (0: any)',
  chats_per_caller: 'Chats of a caller (0: any)',
  controller_weight: "A controller's share beside others'",
  max_kv_bytes: 'Cache (bytes)',
  max_stable_bytes: 'Stable memory (bytes)',
  min_cycles: 'Work stops below (cycles)',
  cycles_per_million_tokens: 'Price of a million tokens (cycles)',
};

const ACCESS = {
  Controllers: 'controllers only',
  AllowList: 'those on the list',
  SignedIn: 'everybody who is signed in',
  Anyone: 'anyone',
};

const words = (key: string) => WORDS[key] ?? `${key.charAt(0).toUpperCase()}${key.slice(1).replaceAll('_', ' ')}`;

/** The canister's settings. */
export function ConfigForm({ config }: { config: Config }) {
  const [said, setSaid] = useState<{ text: string; bad: boolean } | null>(null);
  const numbers = Object.entries(config).filter(([, value]) => typeof value === 'number' || typeof value === 'bigint');
  const save = async (form: HTMLFormElement) => {
    if (!backend.value) return;
    const given = new FormData(form);
    const patch: Record<string, [] | [number | bigint]> = {};
    for (const [key, value] of Object.entries(config)) {
      const text = String(given.get(key) ?? '').replace(/[\s,_]/g, '');
      const changed = /^\d+$/.test(text) && text !== String(value);
      if (key === 'access') continue;
      patch[key] = !changed ? [] : [typeof value === 'bigint' ? BigInt(text) : Number(text)];
    }
    const access = String(given.get('access') ?? '');
    const patched = {
      ...patch,
      access: access && !(access in config.access) ? [{ [access]: null }] : [],
    } as unknown as ConfigPatch;
    try {
      ok(await backend.value.canister.set_config(patched));
      setSaid({ text: 'Saved.', bad: false });
      nudge();
    } catch (error) {
      setSaid({ text: message(error), bad: true });
    }
  };
  return (
    <section class="card" aria-labelledby="config-head">
      <h2 id="config-head">Settings of the canister</h2>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void save(event.currentTarget);
        }}
      >
        <div class="grid">
          <div class="field">
            <label for="config-access">Who may ask</label>
            <select id="config-access" name="access" disabled={!controls.value}>
              {Object.entries(ACCESS).map(([name, text]) => (
                <option key={name} value={name} selected={name in config.access}>
                  {text}
                </option>
              ))}
            </select>
          </div>
          {numbers.map(([key, value]) => (
            <div class="field" key={key}>
              <label for={`config-${key}`}>{words(key)}</label>
              <input
                key={String(value)}
                id={`config-${key}`}
                name={key}
                inputMode="numeric"
                pattern="[0-9,_ ]+"
                defaultValue={count(value)}
                disabled={!controls.value}
              />
            </div>
          ))}
        </div>
        {said && (
          <p class={said.bad ? 'alert' : 'ended'} role={said.bad ? 'alert' : 'status'}>
            {said.text}
          </p>
        )}
        {controls.value && (
          <button type="submit" class="button primary">
            Save
          </button>
        )}
      </form>
    </section>
  );
}
