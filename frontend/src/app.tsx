import { useEffect, useRef, useState } from 'preact/hooks';
import { Admin } from './admin/Admin';
import { conversation, open, refresh, reload } from './state/chats';
import { route } from './state/route';
import { backend } from './state/session';
import { Account } from './view/Account';
import { Banner } from './view/Banner';
import { Conversation } from './view/Conversation';
import { IconButton } from './view/icons';
import { Settings } from './view/Settings';
import { Sidebar } from './view/Sidebar';

type Panel = 'settings' | 'account' | null;

/** The whole page. */
export function App() {
  const [menu, setMenu] = useState(false);
  const [panel, setPanel] = useState<Panel>(null);
  const narrow = useNarrow();
  const shown = route.value;
  const chat = shown.view === 'chat' ? shown.id : undefined;

  useEffect(() => {
    if (!backend.value) return;
    void refresh();
    const { id, loading } = conversation.value;
    if (id !== null && loading) void reload(id);
  }, [backend.value]);
  useEffect(() => {
    if (chat !== undefined) void open(chat);
  }, [chat]);

  const sidebar = useRef<HTMLElement>(null);
  const opener = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    if (!menu || !narrow) return;
    // What was behind the button gets the focus, and gives it back.
    sidebar.current?.querySelector<HTMLElement>('.new-chat')?.focus();
    const closes = (event: KeyboardEvent) => event.key === 'Escape' && setMenu(false);
    addEventListener('keydown', closes);
    return () => {
      removeEventListener('keydown', closes);
      opener.current?.querySelector('button')?.focus();
    };
  }, [menu, narrow]);

  const hidden = narrow && !menu;
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(event) => {
        event.preventDefault();
        document.getElementById('main')?.focus();
      }}>
        To the conversation
      </a>
      <aside ref={sidebar} class={menu ? 'sidebar open' : 'sidebar'} inert={hidden} aria-label="Chats and canister">
        <Sidebar onChosen={() => setMenu(false)} onAccount={() => setPanel('account')} />
      </aside>
      {narrow && menu && <div class="shade" onClick={() => setMenu(false)} />}
      <main id="main" tabIndex={-1} inert={narrow && menu}>
        <div class="topbar">
          <span ref={opener}>
            <IconButton icon="menu" label="Chats" expanded={menu} onClick={() => setMenu(true)} />
          </span>
          <span class="topbar-title">
            {shown.view === 'admin' ? 'Canister' : conversation.value.info?.title || 'New chat'}
          </span>
        </div>
        <Banner />
        {shown.view === 'admin' ? <Admin onAccount={() => setPanel('account')} /> : <Conversation onSettings={() => setPanel('settings')} />}
      </main>
      {panel === 'settings' && <Settings onClose={() => setPanel(null)} />}
      {panel === 'account' && <Account onClose={() => setPanel(null)} />}
    </div>
  );
}

/** Whether the chats are behind a button. */
function useNarrow(): boolean {
  const query = matchMedia('(max-width: 52rem)');
  const [narrow, setNarrow] = useState(query.matches);
  useEffect(() => {
    const changed = () => setNarrow(query.matches);
    query.addEventListener('change', changed);
    return () => query.removeEventListener('change', changed);
  }, []);
  return narrow;
}
