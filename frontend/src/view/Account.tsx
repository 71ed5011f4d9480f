import { useId, useState } from 'preact/hooks';
import { message } from '../ic/backend';
import { exportKey, readKey, signIn, signOut, useKey } from '../ic/identity';
import { list } from '../state/chats';
import { backend, controls, kind, network } from '../state/session';
import { save } from '../text/export';
import { plural } from '../text/format';
import { CopyButton } from './CopyButton';
import { Drawer } from './Drawer';

type Key = ReturnType<typeof readKey>;

const saveKey = () => save('chat-key.pem', exportKey(), 'application/x-pem-file');

/** Asks before another key replaces the browser's own. */
function Replace({ other, onKeep }: { other: Key; onKeep: () => void }) {
  const chats = list.value?.length ?? 0;
  return (
    <div class="confirm" role="alertdialog" aria-label="Use the other key?">
      <span>
        The key of this browser is replaced by that of <code class="hash">{other.getPrincipal().toText()}</code>
        {chats > 0 ? `, and its ${plural(chats, 'chat')} can no longer be read here` : ''}. Save your key first if
        you want to return to it.
      </span>
      <button type="button" class="button" onClick={saveKey}>
        Save my key
      </button>
      <button
        type="button"
        class="button danger"
        onClick={() => {
          useKey(other);
          location.reload();
        }}
      >
        Replace my key
      </button>
      <button type="button" class="button" autofocus onClick={onKeep}>
        Keep my key
      </button>
    </div>
  );
}

/** A field for a key of another browser or of the command line. */
function OtherKey() {
  const [text, setText] = useState('');
  const [error, setError] = useState<string | null>(null);
  const [other, setOther] = useState<Key | null>(null);
  const field = useId();
  const check = () => {
    try {
      const key = readKey(text);
      if (key.getPrincipal().toText() === backend.value?.principal.toText()) {
        setError('This is the key that this browser uses already.');
      } else setOther(key);
    } catch (e) {
      setError(e instanceof Error ? e.message : String(e));
    }
  };
  return (
    <section class="other-key" aria-labelledby={`${field}-head`}>
      <h3 id={`${field}-head`}>Use a key from elsewhere</h3>
      <p class="hint">
        Your key of another browser, or the key of a controller, which makes you the administrator here.
      </p>
      <div class="field">
        <label for={field}>Use another key: one that this page saved, or an Ed25519 key of the command line (PEM)</label>
        <textarea
          id={field}
          rows={3}
          value={text}
          spellcheck={false}
          autocomplete="off"
          aria-invalid={error !== null}
          onInput={(e) => {
            setText(e.currentTarget.value);
            setError(null);
            setOther(null);
          }}
        />
      </div>
      {error && <p class="alert" role="alert">{error}</p>}
      {other ? (
        <Replace other={other} onKeep={() => setOther(null)} />
      ) : (
        <button type="button" class="button" disabled={text.trim() === ''} onClick={check}>
          Use it
        </button>
      )}
    </section>
  );
}

/** Who the user is to the canister. */
export function Account({ onClose }: { onClose: () => void }) {
  const [error, setError] = useState<string | null>(null);
  const principal = backend.value?.principal.toText() ?? '';
  const then = async (what: () => Promise<void>) => {
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
          ? 'The canister knows you by a key that this browser keeps. Your chats belong to this key: no one else can read them through the canister.'
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
        <>
          <details class="more">
            <summary>Take this key to another browser</summary>
            <p class="hint">Whoever has the key is you. Paste it there under “Use a key from elsewhere”.</p>
            <div class="with-copy">
              <span>Copy my key</span>
              <CopyButton label="Copy my key" text={exportKey} />
            </div>
            <button type="button" class="button" onClick={saveKey}>
              Save my key as a file
            </button>
          </details>
          <OtherKey />
        </>
      )}
      <p class="hint">
        The text of chats is in the canister's memory, which the operators of its nodes could read. Do not write
        anything that must stay secret.
      </p>
    </Drawer>
  );
}
