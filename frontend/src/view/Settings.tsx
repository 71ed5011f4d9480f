import { useId } from 'preact/hooks';
import { defaults, settings, wrongSetting, type Settings as Values } from '../state/settings';
import { Drawer } from './Drawer';

type Numeric = 'temperature' | 'topP' | 'topK' | 'repetitionPenalty' | 'maxTokens';

function Slider(props: { name: Numeric; label: string; hint: string; min: number; max: number; step: number }) {
  const id = useId();
  const value = settings.value[props.name];
  return (
    <div class="field">
      <label for={id}>
        {props.label} <output>{value}</output>
      </label>
      <input
        id={id}
        type="range"
        min={props.min}
        max={props.max}
        step={props.step}
        value={value}
        aria-describedby={`${id}-hint`}
        onInput={(event) => set({ [props.name]: Number(event.currentTarget.value) })}
      />
      <p class="hint" id={`${id}-hint`}>{props.hint}</p>
    </div>
  );
}

function set(some: Partial<Values>) {
  settings.value = { ...settings.value, ...some };
}

/** How answers are sampled. */
export function Settings({ onClose }: { onClose: () => void }) {
  const system = useId();
  const seed = useId();
  const wrong = wrongSetting(settings.value);
  return (
    <Drawer title="Settings" onClose={onClose}>
      <div class="field">
        <label for={system}>System prompt</label>
        <textarea
          id={system}
          rows={4}
          placeholder="You answer in one sentence."
          value={settings.value.system}
          onInput={(event) => set({ system: event.currentTarget.value })}
        />
        <p class="hint">What every new chat begins with. Chats that exist keep theirs.</p>
      </div>
      <Slider name="temperature" label="Temperature" min={0} max={2} step={0.05}
        hint="0 always takes the likeliest word; higher is livelier and less sure." />
      <Slider name="topP" label="Top p" min={0.05} max={1} step={0.05}
        hint="Only the likeliest words that together have this share." />
      <Slider name="topK" label="Top k" min={0} max={200} step={1} hint="Only this many of the likeliest words; 0 is all." />
      <Slider name="repetitionPenalty" label="Repetition penalty" min={1} max={2} step={0.05}
        hint="Above 1, words of the last 64 tokens become less likely." />
      <Slider name="maxTokens" label="Longest answer" min={16} max={2048} step={16} hint="In tokens: about three quarters of a word each." />
      <div class="field">
        <label for={seed}>Seed</label>
        <input
          id={seed}
          inputMode="numeric"
          aria-invalid={wrong !== null}
          aria-describedby={`${seed}-hint${wrong ? ` ${seed}-wrong` : ''}`}
          placeholder="another one each time"
          value={settings.value.seed}
          onInput={(event) => set({ seed: event.currentTarget.value.trim() })}
        />
        {wrong && (
          <p class="alert" role="alert" id={`${seed}-wrong`}>
            {wrong}
          </p>
        )}
        <p class="hint" id={`${seed}-hint`}>
          A whole number; the same seed gives the same answer. Without one it comes from the IC's randomness.
        </p>
      </div>
      <button type="button" class="button" onClick={() => (settings.value = defaults)}>
        Back to the defaults
      </button>
    </Drawer>
  );
}
