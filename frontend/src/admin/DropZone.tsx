import { useId, useState } from 'preact/hooks';
import { backend, phase, status } from '../state/session';
import { bytes } from '../text/format';
import { pause, send, upload } from './upload';

const STEPS = {
  hashing: 'Hashing in this browser',
  sending: 'Sending',
  done: 'Sent; the canister verifies it',
  failed: 'Failed',
  paused: 'Paused: choose the same file again to resume',
} as const;

/** Takes a model file and sends it. */
export function DropZone() {
  const [over, setOver] = useState(false);
  const input = useId();
  const now = upload.value;
  const active = now?.step === 'hashing' || now?.step === 'sending';
  const begun = phase.value === 'Uploading' ? status.value?.model.manifest[0] : undefined;
  const take = (file: File | undefined) => {
    if (file && backend.value && !active) void send(backend.value.canister, file);
  };
  return (
    <section class="card" aria-labelledby="upload-head">
      <h2 id="upload-head">Upload a model</h2>
      {begun && !active && (
        <p class="hint">
          An upload of {begun.name} ({bytes(begun.size)}) is not finished. Choose the same file to send only what
          is missing.
        </p>
      )}
      {!active && (
        <label
          for={input}
          class={over ? 'drop over' : 'drop'}
          onDragOver={(event) => {
            event.preventDefault();
            setOver(true);
          }}
          onDragLeave={() => setOver(false)}
          onDrop={(event) => {
            event.preventDefault();
            setOver(false);
            take(event.dataTransfer?.files[0]);
          }}
        >
          <strong>Drop a GGUF file here</strong>
          <span>or</span>
          <span class="button">Choose a file</span>
          <input
            id={input}
            class="visually-hidden"
            type="file"
            accept=".gguf"
            onChange={(event) => {
              take(event.currentTarget.files?.[0]);
              event.currentTarget.value = '';
            }}
          />
        </label>
      )}
      {now && !(now.step === 'done') && (
        <div class="upload" role="status">
          <p>
            <strong>{now.name}</strong> {STEPS[now.step]}
            {now.step === 'sending' && `: ${bytes(now.done)} of ${bytes(now.total)}`}
          </p>
          {active && <progress max={now.total} value={now.done} aria-label={STEPS[now.step]} />}
          {now.error && <p class="alert">{now.error}</p>}
          {active && (
            <button type="button" class="button" onClick={pause}>
              Pause
            </button>
          )}
        </div>
      )}
    </section>
  );
}
