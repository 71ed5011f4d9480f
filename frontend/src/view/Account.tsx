import { useId, useState } from 'preact/hooks';
import { message } from '../ic/backend';
import { exportKey, importKey, signIn, signOut } from '../ic/identity';
import { backend, controls, kind, network } from '../state/session';
import { CopyButton } from './CopyButton';
import { Drawer } from './Drawer';

/** Who the user is to the canister. */
export function Account({ onClose }: { onClose: () => void }) {
  const [key, setKey] = useState('');
  const [error, setError] = useState<string | null>(null);
  const field = useId();
  const principal = backend.value?.principal.toText() ?? '';
  const then = async (what: () => void | Promise<void>) => {
    try {
      await what();
      location.reload();
    } catch (e) {
      setError(message(e));
    }
  };
  return (
    <Drawer title="You" onClose={onClose}>
      <p>
        {kind.value === 'browser'
          ? 'You are known by a key that this browser keeps. Your chats belong to it: no one else can read them through the canister.'
          : 'You are signed in with Internet Identity.'}
        {controls.value && ' You control this canister.'}
      </p>
      <dl class="facts">
        <dt>Principal</dt>
        <dd class="with-copy">
          <code class="hash">{principal}</code>
          <CopyButton label="Copy the principal" text={() => principal} />
        </dd>
        <dt>Canister</dt>
        <dd>
          <code class="hash">{network?.canister.toText()}</code>
        </dd>
      </dl>
      {error && <p class="alert" role="alert">{error}</p>}
      {!network?.local && kind.value === 'browser' && (
        <button type="button" class="button primary" onClick={() => void then(signIn)}>
          Sign in with Internet Identity
        </button>
      )}
      {kind.value === 'internet-identity' && (
        <button type="button" class="button" onClick={() => void then(signOut)}>
          Sign out
        </button>
      )}
      {kind.value === 'browser' && (
        <details class="more">
          <summary>Take this key to another browser</summary>
          <p class="hint">Whoever has the key is you. Paste it there, in the field below.</p>
          <div class="with-copy">
            <span>Copy my key</span>
            <CopyButton label="Copy my key" text={exportKey} />
          </div>
          <div class="field">
            <label for={field}>Use another key, or an Ed25519 one of the command line (PEM)</label>
            <textarea id={field} rows={3} value={key} onInput={(e) => setKey(e.currentTarget.value)} />
          </div>
          <button
            type="button"
            class="button"
            disabled={key.trim() === ''}
            onClick={() => void then(() => importKey(key))}
          >
            Use it
          </button>
        </details>
      )}
      <p class="hint">
        The text of chats is in the canister's memory, which the operators of its nodes could read. Tell it
        nothing that must stay secret.
      </p>
    </Drawer>
  );
}
