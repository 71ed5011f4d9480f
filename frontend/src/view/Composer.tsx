import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { ask, conversation, live, refused, sending, stop } from '../state/chats';
import { backend, phase, ready } from '../state/session';
import { Icon, IconButton } from './icons';

const DRAFT = 'draft';

/** Where a question is written. What was not sent yet outlives a reload. */
export function Composer({ onSettings }: { onSettings: () => void }) {
  const [text, setText] = useState(() => sessionStorage.getItem(DRAFT) ?? '');
  const [stopping, setStopping] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const writing = live.value !== null || (conversation.value.info?.running.length ?? 0) > 0;
  const able = ready.value && backend.value !== null && !sending.value && !writing;

  useEffect(() => sessionStorage.setItem(DRAFT, text), [text]);
  useEffect(() => {
    if (!writing) setStopping(false);
  }, [writing]);
  useEffect(() => {
    // A keyboard is at hand: begin to type at once.
    if (matchMedia('(hover: hover)').matches) field.current?.focus();
  }, [conversation.value.id]);
  useLayoutEffect(() => {
    const area = field.current;
    if (!area) return;
    area.style.height = 'auto';
    area.style.height = `${Math.min(area.scrollHeight, 240)}px`;
  }, [text]);

  const send = async () => {
    if (!able || text.trim() === '') return;
    const asked = text;
    setText('');
    if (!(await ask(asked))) setText((typed) => typed || asked);
  };
  const hint =
    ready.value || phase.value === null ? 'Ask something' : 'The model is not ready yet';
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      {refused.value && (
        <p class="alert" role="alert">
          {refused.value}
          <IconButton icon="close" label="Dismiss" onClick={() => (refused.value = null)} />
        </p>
      )}
      <div class="composer-box">
        <textarea
          ref={field}
          rows={1}
          aria-label="Your question"
          placeholder={hint}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              void send();
            }
          }}
        />
        <div class="composer-tools">
          <IconButton icon="sliders" label="Settings" onClick={onSettings} />
          {writing ? (
            <button
              type="button"
              class="send stop"
              aria-label="Stop the answer"
              title="Stop the answer"
              disabled={stopping}
              onClick={() => {
                setStopping(true);
                void stop().finally(() => refused.value && setStopping(false));
              }}
            >
              <Icon name="stop" />
            </button>
          ) : (
            <button type="submit" class="send" aria-label="Send" title="Send" disabled={!able || text.trim() === ''}>
              <Icon name="send" />
            </button>
          )}
        </div>
      </div>
      <p class="small-print">
        Written on chain by a small model: it is often wrong.{' '}
        <span class="keys">Enter sends, Shift+Enter begins a line.</span>
      </p>
    </form>
  );
}
