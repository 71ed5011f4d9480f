import { useEffect, useRef, useState } from 'preact/hooks';
import { announcement, ask, conversation, live, refused, reload, sending } from '../state/chats';
import { ready, status } from '../state/session';
import { exportChat } from '../text/export';
import { Composer } from './Composer';
import { Icon, IconButton } from './icons';
import { AssistantTurn, SystemTurn, UserTurn } from './TurnView';
import { Waiting } from './Waiting';

const EXAMPLES = [
  'What is gravity?',
  'Write a short poem about the sea.',
  'Explain recursion with a small Python example.',
];

function Welcome() {
  const info = status.value?.model.info[0];
  return (
    <div class="welcome">
      <h1>What would you like to know?</h1>
      <p>
        The model answers from inside a smart contract
        {info ? ` (${(Number(info.parameters) / 1e6).toFixed(0)} million parameters, all on chain)` : ''}: slower
        than you may be used to, and anybody can check every word of it.
      </p>
      <ul class="examples">
        {EXAMPLES.map((example) => (
          <li key={example}>
            <button type="button" disabled={!ready.value || sending.value !== null} onClick={() => void ask(example)}>
              {example}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The turns of a chat, what is being written, and where to write. */
export function Conversation({ onSettings }: { onSettings: () => void }) {
  const { id, info, turns, loading, error } = conversation.value;
  const scroller = useRef<HTMLDivElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const progress = live.value;
  const pending = sending.value;
  const shown = pending ? turns.slice(0, pending.from) : turns;
  const busy = pending !== null || progress !== null || !ready.value;
  const end = (smooth: boolean) => {
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    scroller.current?.scrollTo({
      top: scroller.current.scrollHeight,
      behavior: smooth && !calm ? 'smooth' : 'instant',
    });
  };

  useEffect(() => {
    setAtEnd(true);
    end(false);
  }, [id, loading]);
  useEffect(() => {
    if (pending) setAtEnd(true);
    if (atEnd || pending) end(false);
  }, [progress, pending, turns]);

  const empty = !loading && !error && turns.length === 0 && !pending;
  return (
    <>
      <div
        class="scroller"
        ref={scroller}
        tabIndex={-1}
        onScroll={() => {
          const box = scroller.current;
          if (box) setAtEnd(box.scrollHeight - box.scrollTop - box.clientHeight < 80);
        }}
      >
        <div class="turns">
          {loading && (
            <div class="skeletons wide" role="status" aria-label="Loading the chat">
              <i /> <i /> <i />
            </div>
          )}
          {error && (
            <div class="empty">
              <h1>This chat cannot be shown</h1>
              <p>{error}</p>
              {id !== null && (
                <button type="button" class="button" onClick={() => void reload(id)}>
                  Try again
                </button>
              )}
            </div>
          )}
          {empty && <Welcome />}
          {turns.length > 0 && (
            <header class="chat-head">
              <h1>{info?.title || 'Untitled'}</h1>
              <IconButton
                icon="export"
                label="Export this chat as Markdown"
                onClick={() => exportChat(info?.title || 'chat', turns)}
              />
            </header>
          )}
          {shown.map((turn, number) => {
            if (turn.role === 'system') return <SystemTurn key={number} content={turn.content} />;
            if (turn.role === 'user') {
              return (
                <UserTurn
                  key={`${number}`}
                  content={turn.content}
                  busy={busy}
                  onAsk={(content) => ask(content, number)}
                />
              );
            }
            const question = shown[number - 1];
            const mine = progress !== null && progress.generation.id === turn.generation[0];
            return (
              <AssistantTurn
                key={`${number} ${turn.generation[0]}`}
                turn={turn}
                live={mine ? progress : null}
                busy={busy}
                onAgain={question?.role === 'user' ? () => void ask(question.content, number - 1, true) : undefined}
              />
            );
          })}
          {pending && <UserTurn content={pending.content} pending busy />}
          {pending && <Waiting words="Sending" />}
        </div>
        {!atEnd && (
          <button type="button" class="to-end" aria-label="To the end" onClick={() => end(true)}>
            <Icon name="down" />
          </button>
        )}
      </div>
      <p class="visually-hidden" aria-live="polite">
        {refused.value ? '' : announcement.value}
      </p>
      <Composer onSettings={onSettings} />
    </>
  );
}
