import { useEffect, useRef, useState } from 'preact/hooks';
import type { ModelEntry, Models } from '../bindings/llm.did';
import { message, ok, type Canister } from '../ic/backend';
import { backend, controls, nudge, status } from '../state/session';
import { bytes, hex } from '../text/format';

const DEFAULT = 'default';
/** Between two looks while a model is on its way. */
const LOOK = 1_000;
const ON_THE_WAY = ['Uploading', 'Verifying', 'Preparing', 'Restoring'];

const phaseOf = (model: ModelEntry) => Object.keys(model.status.phase)[0] ?? '';

interface Row {
  model: ModelEntry;
  library: Models;
  run: (what: (canister: Canister) => Promise<unknown>) => Promise<void>;
}

function ModelRow({ model, library, run }: Row) {
  const [asking, setAsking] = useState(false);
  const sha256 = hex(model.sha256);
  const name = model.status.manifest[0]?.name ?? sha256.slice(0, 12);
  const phase = phaseOf(model);
  const failure = model.status.error[0];
  const coming = library.aliases.filter((a) => a.next_sha256[0] && hex(a.next_sha256[0]) === sha256);
  const inUse = model.aliases.includes(DEFAULT) || coming.some((a) => a.alias === DEFAULT);
  const remove = (canister: Canister) =>
    phase === 'Uploading'
      ? canister.upload_abort().then(ok)
      : canister.model_delete({ model: sha256, force: true }).then(ok);
  return (
    <li>
      <p class="row">
        <strong>{name}</strong> <span class={`state ${phase}`}>{phase}</span>
        {model.aliases.map((alias) => (
          <span key={alias} class="state Ready">{alias}</span>
        ))}
        {coming.map((alias) => (
          <span key={alias.alias} class="state">{alias.alias} soon</span>
        ))}
      </p>
      <p>
        <small>
          <code title={sha256}>{sha256.slice(0, 12)}</code>, {bytes(model.stable_bytes)} of stable memory
          {model.heap_bytes > 0n && `, ${bytes(model.heap_bytes)} of heap`}
          {model.generations > 0 && `, answering ${model.generations}`}
        </small>
      </p>
      {ON_THE_WAY.includes(phase) && (
        <progress max={Number(model.status.total)} value={Number(model.status.done)} aria-label="How far it is" />
      )}
      {failure && (
        <p class="alert">
          {Object.keys(failure)[0]}: {String(Object.values(failure)[0])}
        </p>
      )}
      {controls.value && !asking && (
        <p class="row">
          {!inUse && ['Stored', 'Ready', 'Restoring'].includes(phase) && (
            <button
              type="button"
              class="button"
              onClick={() => void run((c) => c.alias_set({ alias: DEFAULT, model: sha256 }).then(ok))}
            >
              Switch to this model
            </button>
          )}
          <button type="button" class="button danger" onClick={() => setAsking(true)}>
            {phase === 'Uploading' ? 'Drop this upload' : 'Delete the model'}
          </button>
        </p>
      )}
      {asking && (
        <p class="row">
          <span>
            {inUse ? 'Answers stop until another model is in use.' : 'Its file has to be uploaded again to get it back.'}
          </span>
          <button
            type="button"
            class="button danger"
            onClick={() => {
              setAsking(false);
              void run(remove);
            }}
          >
            {phase === 'Uploading' ? 'Drop it' : 'Delete it'}
          </button>
          <button type="button" class="button" onClick={() => setAsking(false)}>
            Keep it
          </button>
        </p>
      )}
    </li>
  );
}

/** The models of the canister: which one answers, and the others. */
export function Library() {
  const [library, setLibrary] = useState<Models | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [looks, setLooks] = useState(0);
  const moved = useRef(false);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let gone = false;
    backend.value?.canister
      .models()
      .then((now) => {
        if (gone) return;
        setLibrary(now);
        const moving =
          now.aliases.some((a) => a.next_sha256.length > 0) ||
          now.models.some((m) => ON_THE_WAY.includes(phaseOf(m)));
        if (moving) timer = setTimeout(() => setLooks((n) => n + 1), LOOK);
        // The rest of the page is to see what has come of it.
        else if (moved.current) nudge();
        moved.current = moving;
      })
      .catch((e: unknown) => !gone && setError(message(e)));
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [status.value, looks]);
  const run = async (what: (canister: Canister) => Promise<unknown>) => {
    try {
      if (backend.value) await what(backend.value.canister);
      setError(null);
    } catch (e) {
      setError(message(e));
    }
    setLooks((n) => n + 1);
    nudge();
  };
  const before = library?.aliases.find((a) => a.alias === DEFAULT)?.previous_sha256.at(-1);
  const back = before && library?.models.find((m) => hex(m.sha256) === hex(before));
  if (library === null || library.models.length === 0) return error ? <p class="alert">{error}</p> : null;
  return (
    <section class="card" aria-labelledby="library-head">
      <h2 id="library-head">Models</h2>
      <ul class="library">
        {library.models.map((model) => (
          <ModelRow key={hex(model.sha256)} model={model} library={library} run={run} />
        ))}
      </ul>
      {error && (
        <p class="alert" role="alert">
          {error}
        </p>
      )}
      {controls.value && back && (
        <button type="button" class="button" onClick={() => void run((c) => c.alias_rollback(DEFAULT).then(ok))}>
          Back to {back.status.manifest[0]?.name}
        </button>
      )}
    </section>
  );
}
