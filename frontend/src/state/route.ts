import { signal } from '@preact/signals';

/** What the page shows; it is in the address after the #, so that tabs and reloads keep it. */
export type Route = { view: 'chat'; id: bigint | null } | { view: 'admin' };

function parse(hash: string): Route {
  if (hash === '#/admin') return { view: 'admin' };
  const chat = /^#\/chat\/(\d{1,19})$/.exec(hash)?.[1];
  return { view: 'chat', id: chat ? BigInt(chat) : null };
}

export const route = signal<Route>(parse(location.hash));
addEventListener('hashchange', () => (route.value = parse(location.hash)));

export const address = (to: Route): string =>
  to.view === 'admin' ? '#/admin' : to.id === null ? '#/' : `#/chat/${to.id}`;

/** Shows something else; `replace` leaves no step to go back to. */
export function go(to: Route, replace = false): void {
  if (replace) history.replaceState(null, '', address(to));
  else history.pushState(null, '', address(to));
  route.value = to;
}
