import { Principal } from '@icp-sdk/core/principal';
import { useId, useState } from 'preact/hooks';
import type { Access, Role } from '../bindings/llm.did';
import { message, ok } from '../ic/backend';
import { backend, nudge } from '../state/session';
import { plural } from '../text/format';

const ROLES = {
  Allowed: 'May ask',
  Banned: 'May not ask',
  Ordinary: 'As everyone else',
};

/** Returns the principals in a text, or the first word that is none. */
function principals(text: string): { list: Principal[]; wrong?: string } {
  const list: Principal[] = [];
  for (const word of text.split(/[\s,;]+/).filter(Boolean)) {
    try {
      list.push(Principal.fromText(word));
    } catch {
      return { list, wrong: word };
    }
  }
  return { list };
}

/** Says of callers whether they may ask. */
export function AccessForm({ access }: { access: Access }) {
  const [text, setText] = useState('');
  const [said, setSaid] = useState<{ text: string; bad: boolean } | null>(null);
  const field = useId();
  const save = async (role: keyof typeof ROLES) => {
    const { list, wrong } = principals(text);
    if (wrong !== undefined) return setSaid({ text: `“${wrong}” is not a principal.`, bad: true });
    if (list.length === 0) return setSaid({ text: 'A principal is missing.', bad: true });
    const changes = list.map((principal) => ({ principal, role: { [role]: null } as unknown as Role }));
    try {
      if (backend.value) ok(await backend.value.canister.set_access(changes));
      setText('');
      setSaid({ text: `Saved: ${plural(list.length, 'caller')}, “${ROLES[role]}”.`, bad: false });
      nudge();
    } catch (error) {
      setSaid({ text: message(error), bad: true });
    }
  };
  return (
    <section class="card" aria-labelledby={`${field}-head`}>
      <h2 id={`${field}-head`}>Single callers</h2>
      <p class="hint">
        {'AllowList' in access
          ? 'Only callers who are allowed here may ask, and controllers.'
          : 'Callers who are banned here may not ask. Those who are allowed matter while only allowed callers may ask (see “Who may ask”).'}{' '}
        Callers find their principal under “You”. The log has all changes.
      </p>
      <div class="field">
        <label for={field}>Principals, one or more</label>
        <textarea
          id={field}
          rows={2}
          value={text}
          spellcheck={false}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setSaid(null);
          }}
        />
      </div>
      {said && (
        <p class={said.bad ? 'alert' : 'ended'} role={said.bad ? 'alert' : 'status'}>
          {said.text}
        </p>
      )}
      <div class="row">
        {(Object.keys(ROLES) as (keyof typeof ROLES)[]).map((role) => (
          <button key={role} type="button" class="button" onClick={() => void save(role)}>
            {ROLES[role]}
          </button>
        ))}
      </div>
    </section>
  );
}
