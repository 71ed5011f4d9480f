import { useState } from 'preact/hooks';
import type { Config, ConfigPatch } from '../bindings/llm.did';
import { message, ok } from '../ic/backend';
import { backend, controls, nudge } from '../state/session';
import { type Field, groups, ofText, shown, toText } from './settings';

const ACCESS = {
  Controllers: 'Controllers only',
  AllowList: 'Those whom a controller has allowed',
  SignedIn: 'Everyone who is signed in',
  Anyone: 'Anyone',
};

const accessOf = (config: Config) => Object.keys(config.access)[0] as keyof typeof ACCESS;

/** The settings, for those who may not change them. */
function Values({ config }: { config: Config }) {
  return (
    <>
      {groups(config).map(({ title, fields }) => (
        <section key={title} class="settings">
          <h3>{title}</h3>
          <dl class="facts">
            {title === 'Callers' && (
              <>
                <dt>Who may ask</dt>
                <dd>{ACCESS[accessOf(config)]}</dd>
              </>
            )}
            {fields.map((field) => (
              <div key={field.key} class="fact">
                <dt>{field.label}</dt>
                <dd>{shown(field, config[field.key])}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </>
  );
}

interface Said {
  text: string;
  bad: boolean;
  field?: string;
}

/** What is given of a field: nothing new, a new value, or what is wrong with it. */
function given(field: Field, config: Config, form: FormData): { value?: number | bigint; wrong?: string } {
  const before = config[field.key];
  const text = String(form.get(field.key) ?? '').trim();
  if (text === toText(field, before)) return {};
  return ofText(field, text, typeof before === 'bigint');
}

function Form({ config }: { config: Config }) {
  const [said, setSaid] = useState<Said | null>(null);
  const [saving, setSaving] = useState(false);
  const save = async (form: HTMLFormElement) => {
    if (!backend.value || saving) return;
    setSaid(null);
    const data = new FormData(form);
    const patch: Record<string, [] | [unknown]> = {};
    for (const field of groups(config).flatMap((group) => group.fields)) {
      const { value, wrong } = given(field, config, data);
      if (wrong) {
        setSaid({ text: wrong, bad: true, field: field.key });
        document.getElementById(`config-${field.key}`)?.focus();
        return;
      }
      patch[field.key] = value === undefined ? [] : [value];
    }
    const access = String(data.get('access') ?? '');
    patch.access = access && !(access in config.access) ? [{ [access]: null }] : [];
    if (Object.values(patch).every((value) => value.length === 0)) {
      setSaid({ text: 'Nothing was changed.', bad: false });
      return;
    }
    setSaving(true);
    try {
      ok(await backend.value.canister.set_config(patch as unknown as ConfigPatch));
      setSaid({ text: 'Saved.', bad: false });
      nudge();
    } catch (error) {
      setSaid({ text: message(error), bad: true });
    }
    setSaving(false);
  };
  return (
    <form
      noValidate
      onInput={() => setSaid(null)}
      onSubmit={(event) => {
        event.preventDefault();
        void save(event.currentTarget);
      }}
    >
      {groups(config).map(({ title, fields }) => (
        <fieldset key={title} class="settings">
          <legend>{title}</legend>
          {title === 'Callers' && (
            <div class="line">
              <label for="config-access">Who may ask</label>
              <select id="config-access" name="access" key={accessOf(config)}>
                {Object.entries(ACCESS).map(([name, text]) => (
                  <option key={name} value={name} selected={name in config.access}>
                    {text}
                  </option>
                ))}
              </select>
            </div>
          )}
          {fields.map((field) => {
            const id = `config-${field.key}`;
            return (
              <div class="line" key={field.key}>
                <label for={id}>{field.label}</label>
                <span class="with-unit">
                  <input
                    key={String(config[field.key])}
                    id={id}
                    name={field.key}
                    inputMode="decimal"
                    autocomplete="off"
                    defaultValue={toText(field, config[field.key])}
                    aria-invalid={said?.field === field.key}
                    aria-describedby={`${id}-unit${said?.field === field.key ? ' config-said' : ''}`}
                  />
                  <span class="unit" id={`${id}-unit`}>
                    {field.unit.name}
                    {field.zero && <small> (0: {field.zero})</small>}
                  </span>
                </span>
              </div>
            );
          })}
        </fieldset>
      ))}
      {said && (
        <p id="config-said" class={said.bad ? 'alert' : 'ended'} role={said.bad ? 'alert' : 'status'}>
          {said.text}
        </p>
      )}
      <button type="submit" class="button primary" disabled={saving}>
        Save
      </button>
    </form>
  );
}

/** The canister's settings. */
export function ConfigForm({ config }: { config: Config }) {
  return (
    <section class="card" aria-labelledby="config-head">
      <h2 id="config-head">Settings of the canister</h2>
      {controls.value ? <Form config={config} /> : <Values config={config} />}
    </section>
  );
}
