import { useEffect, useState } from 'preact/hooks';
import type { LogEntry } from '../bindings/llm.did';
import { message, ok } from '../ic/backend';
import { backend, status } from '../state/session';
import { when } from '../text/format';

/** The canister's log, newest first. */
export function Logs() {
  const [lines, setLines] = useState<LogEntry[]>([]);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    const from = lines.at(-1) ? lines.at(-1)!.number + 1n : 0n;
    backend.value?.canister
      .logs(from)
      .then((result) => {
        const more = ok(result);
        if (more.length > 0) setLines((before) => [...before, ...more]);
        setError(null);
      })
      .catch((e: unknown) => setError(message(e)));
  }, [status.value]);
  return (
    <section class="card" aria-labelledby="log-head">
      <h2 id="log-head">Log</h2>
      {error && <p class="alert">{error}</p>}
      {lines.length === 0 && !error && <p class="hint">Nothing yet.</p>}
      <ul class="log" tabIndex={0} aria-label="Lines of the log, newest first">
        {[...lines].reverse().map((line) => (
          <li key={String(line.number)} class={Object.keys(line.level)[0]}>
            <time>{when(line.time_ns)}</time>
            <span>
              {line.text}
              {line.by[0] && <small> by {line.by[0].toText()}</small>}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
