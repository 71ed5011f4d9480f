import { useState } from 'preact/hooks';
import type { ChatInfo } from '../bindings/llm.did';
import { conversation, hasMore, list, listError, more, refresh, remove, rename } from '../state/chats';
import { address, go, route } from '../state/route';
import { controls, status } from '../state/session';
import { when } from '../text/format';
import { Icon, IconButton } from './icons';

function Entry({ chat, onChosen }: { chat: ChatInfo; onChosen: () => void }) {
  const [doing, setDoing] = useState<'rename' | 'delete' | null>(null);
  const here = route.value.view === 'chat' && conversation.value.id === chat.id;
  const title = chat.title || 'Untitled';
  if (doing === 'rename') {
    const end = (title: string | null) => {
      setDoing(null);
      if (title !== null && title.trim() && title !== chat.title) void rename(chat.id, title.trim());
    };
    return (
      <li>
        <input
          class="rename"
          aria-label="New title"
          maxLength={60}
          value={chat.title}
          ref={(input) => {
            if (input && document.activeElement !== input) input.focus();
          }}
          onKeyDown={(event) => {
            if (event.key === 'Enter') end(event.currentTarget.value);
            if (event.key === 'Escape') end(null);
          }}
          onBlur={(event) => end(event.currentTarget.value)}
        />
      </li>
    );
  }
  if (doing === 'delete') {
    return (
      <li class="confirm">
        <span>Delete “{title}”?</span>
        <button type="button" class="button danger" onClick={() => void remove(chat.id)}>
          Delete
        </button>
        <button type="button" class="button" autofocus onClick={() => setDoing(null)}>
          Keep
        </button>
      </li>
    );
  }
  return (
    <li class={here ? 'entry here' : 'entry'}>
      <a
        href={address({ view: 'chat', id: chat.id })}
        aria-current={here ? 'page' : undefined}
        onClick={onChosen}
      >
        <span class="entry-title">{title}</span>
        <span class="entry-when">
          {chat.running.length > 0 ? <span class="writing">writing</span> : when(chat.updated_ns)}
        </span>
      </a>
      <span class="entry-tools">
        <IconButton icon="edit" label={`Rename ${title}`} onClick={() => setDoing('rename')} />
        <IconButton icon="trash" label={`Delete ${title}`} onClick={() => setDoing('delete')} />
      </span>
    </li>
  );
}

/** The user's chats. */
export function Sidebar(props: { onChosen: () => void; onAccount: () => void }) {
  const chats = list.value;
  const model = status.value?.model.manifest[0]?.name;
  return (
    <>
      <div class="sidebar-head">
        <a class="brand" href="#/" onClick={props.onChosen}>
          <img src="/icon.svg" alt="" width="28" height="28" />
          <span>Chat on chain</span>
        </a>
      </div>
      <button
        type="button"
        class="button new-chat"
        onClick={() => {
          go({ view: 'chat', id: null });
          props.onChosen();
        }}
      >
        <Icon name="plus" /> New chat
      </button>
      <nav aria-label="Your chats" class="chats">
        {listError.value && (
          <p class="hint">
            {listError.value}{' '}
            <button type="button" class="link" onClick={() => void refresh()}>
              Try again
            </button>
          </p>
        )}
        {chats === null && !listError.value && (
          <div class="skeletons" aria-label="Loading your chats" role="status">
            <i /> <i /> <i />
          </div>
        )}
        {chats?.length === 0 && <p class="hint">Your chats will be here. They stay, whatever browser tab closes.</p>}
        <ul>
          {chats?.map((chat) => (
            <Entry key={String(chat.id)} chat={chat} onChosen={props.onChosen} />
          ))}
        </ul>
        {chats && hasMore(chats) && (
          <button type="button" class="link" onClick={() => void more()}>
            Older chats
          </button>
        )}
      </nav>
      <footer class="sidebar-foot">
        {model && <p class="model-name" title="The model in the canister">{model.replace(/\.gguf$/i, '')}</p>}
        <div class="foot-links">
          <button type="button" class="foot-link" onClick={props.onAccount}>
            <Icon name="user" /> You
          </button>
          <a class="foot-link" href="#/admin" onClick={props.onChosen}>
            <Icon name="gauge" /> {controls.value ? 'Administration' : 'Canister'}
          </a>
        </div>
      </footer>
    </>
  );
}
