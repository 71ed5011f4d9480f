import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { ask, conversation, live, refused, sending, stop } from '../state/chats';
import { backend, phase, ready } from '../state/session';
import { Icon, IconButton } from './icons';

const DRAFT = 'draft';

/** Where a question is written. What was not sent survives a reload. */
export function Composer({ onSettings }: { onSettings: () => void }) {
  const [text, setText] = useState(() => sessionStorage.getItem(DRAFT) ?? '');
  const [stopping, setStopping] = useState(false);
  /** The question that is sent when the answer has ended, and the chat that it is for. */
  const [queued, setQueued] = useState<{ content: string; chat: bigint | null } | null>(null);
  const field = useRef<HTMLTextAreaElement>(null);
  const writing = live.value !== null || (conversation.value.info?.running.length ?? 0) > 0;
  const busy = writing || sending.value !== null;
  const able = ready.value && backend.value !== null && !busy;
  const chat = conversation.value.id;

  // A question that waits is a draft until it is sent.
  useEffect(() => sessionStorage.setItem(DRAFT, text || queued?.content || ''), [text, queued]);
  useEffect(() => {
    if (!queued) return;
    // A new chat gets its number while its first question is sent.
    if (queued.chat !== chat && queued.chat !== null) takeBack();
    else if (able) {
      setQueued(null);
      void send(queued.content);
    }
  }, [queued, able, chat]);
  useEffect(() => {
    if (!writing) setStopping(false);
  }, [writing]);
  useEffect(() => {
    // A keyboard is at hand: begin to type at once.
    if (matchMedia('(hover: hover)').matches) field.current?.focus();
  }, [chat]);
  useLayoutEffect(() => {
    const area = field.current;
    if (!area) return;
    area.style.height = 'auto';
    area.style.height = `${Math.min(area.scrollHeight, 240)}px`;
  }, [text]);

  const send = async (asked: string) => {
    if (!(await ask(asked))) setText((typed) => typed || asked);
  };
  const takeBack = () => {
    setText((typed) => [queued?.content, typed].filter(Boolean).join('\n'));
    setQueued(null);
    field.current?.focus();
  };
  const submit = () => {
    if (text.trim() === '') return;
    if (able) void send(text);
    else if (busy && !queued) setQueued({ content: text, chat });
    else return;
    setText('');
  };
  const hint =
    phase.value === null ? 'Connecting' : ready.value ? 'Ask something' : 'The model is not ready yet';
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {refused.value && (
        <p class="alert" role="alert">
          {refused.value}
          <IconButton icon="close" label="Dismiss" onClick={() => (refused.value = null)} />
        </p>
      )}
      {queued && (
        <p class="queued" role="status">
          <span>
            Sent when the answer has ended: <q>{queued.content.length > 80 ? `${queued.content.slice(0, 80)}…` : queued.content}</q>
          </span>
          <button type="button" class="link" onClick={takeBack}>
            Take it back
          </button>
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
              submit();
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
              onClick={(event) => {
                setStopping(true);
                // By keyboard: the button goes, and the focus must not go with it.
                if (event.detail === 0) field.current?.focus();
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
        <span class="keys">Enter sends, Shift+Enter starts a new line.</span>
      </p>
    </form>
  );
}
