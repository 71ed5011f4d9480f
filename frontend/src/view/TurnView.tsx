import { useEffect, useRef, useState } from 'preact/hooks';
import type { ChatTurn } from '../bindings/llm.did';
import { explain } from '../ic/backend';
import type { Progress } from '../state/follow';
import { count, large, plural } from '../text/format';
import { CopyButton } from './CopyButton';
import { Details } from './Details';
import { IconButton } from './icons';
import { Markdown } from './Markdown';
import { Rounds } from './Rounds';
import { Waiting } from './Waiting';

/** The system prompt of a chat. */
export function SystemTurn({ content }: { content: string }) {
  return (
    <details class="system">
      <summary>System prompt</summary>
      <p class="plain">{content}</p>
    </details>
  );
}

/** A question; it can be changed and asked again while nothing is being written. */
export function UserTurn(props: {
  content: string;
  pending?: boolean;
  busy: boolean;
  onAsk?: (content: string) => Promise<boolean>;
}) {
  const [editing, setEditing] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const area = field.current;
    if (!editing || !area) return;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }, [editing]);
  if (editing) {
    return (
      <form
        class="turn user editing"
        onSubmit={(event) => {
          event.preventDefault();
          const content = field.current?.value ?? '';
          if (props.busy) return;
          void props.onAsk?.(content).then((taken) => taken && setEditing(false));
        }}
        onKeyDown={(event) => event.key === 'Escape' && setEditing(false)}
      >
        <textarea
          ref={field}
          aria-label="Edit your question"
          rows={3}
          defaultValue={props.content}
          onKeyDown={(event) => {
            // As in the composer.
            if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              event.currentTarget.form?.requestSubmit();
            }
          }}
        />
        <p class="hint">
          The turns after it are replaced. <span class="keys">Enter sends, Shift+Enter starts a new line.</span>
        </p>
        <div class="row">
          <button type="submit" class="button primary" disabled={props.busy}>
            Ask again
          </button>
          <button type="button" class="button" onClick={() => setEditing(false)}>
            Leave it
          </button>
        </div>
      </form>
    );
  }
  return (
    <article class={props.pending ? 'turn user pending' : 'turn user'} aria-label="You">
      <div class="bubble plain">{props.content}</div>
      {!props.pending && (
        <div class="tools">
          <CopyButton label="Copy your question" text={() => props.content} />
          <IconButton icon="edit" label="Edit and ask again" disabled={props.busy} onClick={() => setEditing(true)} />
        </div>
      )}
    </article>
  );
}

/** What an answer that has no text yet is doing. */
function Doing({ live }: { live: Progress | null }) {
  const generation = live?.generation;
  const place = generation?.queue[0];
  let words = 'Asking the canister';
  if (place && place.position > 0) {
    words = `Waiting in the queue: ${plural(place.position, 'answer')} before this one`;
    if (place.wait_rounds > 0) words += `, about ${plural(place.wait_rounds, 'round')}`;
  } else if (generation && generation.generated_tokens === 0) {
    words = `Reading: ${count(generation.prompt_tokens_done)} of ${plural(generation.prompt_tokens, 'token')}`;
  } else if (generation) words = 'Writing';
  return <Waiting words={words} />;
}

function ending(turn: ChatTurn): string | null {
  const state = turn.finish[0];
  if (!state) return null;
  if ('Failed' in state) return 'Cancelled' in state.Failed ? 'You stopped this answer.' : explain(state.Failed);
  if ('Finished' in state && 'MaxTokens' in state.Finished) return 'Cut at the longest answer that the settings allow.';
  if ('Finished' in state && 'ContextFull' in state.Finished) return 'Cut: the context is full.';
  return null;
}

/** An answer, as far as it is. */
export function AssistantTurn(props: {
  turn: ChatTurn;
  live: Progress | null;
  busy: boolean;
  onAgain?: () => void;
}) {
  const { turn, live } = props;
  const [details, setDetails] = useState(false);
  const writing = turn.finish.length === 0;
  const text = live ? live.text : turn.content;
  const end = ending(turn);
  const failed = turn.finish[0] && 'Failed' in turn.finish[0] && !('Cancelled' in turn.finish[0].Failed);
  const tokens = live?.generation.generated_tokens ?? turn.generated_tokens;
  const figures = live
    ? `${plural(tokens, 'token')}${live.speed ? `, ${live.speed.toFixed(1)} a second` : ''}`
    : `${plural(tokens, 'token')} · ${large(turn.instructions)} instructions`;
  return (
    <article class="turn assistant" aria-label="Answer" aria-busy={writing}>
      {text ? <Markdown text={text} /> : writing && <Doing live={live} />}
      {end && <p class={failed ? 'alert' : 'ended'}>{end}</p>}
      {writing && live && text && (
        <Rounds rounds={[...live.rounds.values()]} total={live.generation.rounds} />
      )}
      <div class={writing ? 'tools shown' : 'tools'}>
        {!writing && <CopyButton label="Copy the answer" text={() => text} />}
        {!writing && props.onAgain && (
          <IconButton icon="again" label="Answer again" disabled={props.busy} onClick={props.onAgain} />
        )}
        <button
          type="button"
          class="figures"
          aria-label={`How this answer was made: ${figures}`}
          onClick={() => setDetails(true)}
        >
          {figures}
        </button>
      </div>
      {details && <Details turn={turn} live={live} onClose={() => setDetails(false)} />}
    </article>
  );
}
