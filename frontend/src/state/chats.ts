import { signal } from '@preact/signals';
import type { ChatInfo, ChatTurn } from '../bindings/llm.did';
import { message, ok, Refused } from '../ic/backend';
import { follow, type Progress } from './follow';
import { go } from './route';
import { backend, nudge } from './session';
import { options, settings, wrongSetting } from './settings';

/** A conversation on the screen. */
export interface Conversation {
  /** Null: it begins with its first question. */
  id: bigint | null;
  info: ChatInfo | null;
  turns: ChatTurn[];
  loading: boolean;
  error: string | null;
}

const PAGE = 50;
const LISTED = 100;

export const list = signal<ChatInfo[] | null>(null);
export const listError = signal<string | null>(null);
export const conversation = signal<Conversation>(blank(null));
/** The answer that is being written; null when none is. */
export const live = signal<Progress | null>(null);
/** The question on its way to the canister, and which turn it replaces. */
export const sending = signal<{ content: string; from: number } | null>(null);
/** Why the last question was not taken. */
export const refused = signal<string | null>(null);
/** What a screen reader is told. */
export const announcement = signal('');

/** Speeds as measured here, by generation. */
export const speeds = new Map<bigint, number>();

function blank(id: bigint | null): Conversation {
  return { id, info: null, turns: [], loading: id !== null, error: null };
}

let following: AbortController | null = null;

// The browser's other tabs hear of what changes here, and look again.
const tabs = new BroadcastChannel('chats');
tabs.onmessage = ({ data }: MessageEvent<{ chat: bigint | null }>) => {
  void refresh();
  const { id } = conversation.value;
  if (id !== null && id === data.chat && !sending.value && !live.value) void reload(id);
};
const tell = (chat: bigint | null): void => tabs.postMessage({ chat });

/** Shows a chat, or a new one. Follows its answer if there is one. */
export async function open(id: bigint | null): Promise<void> {
  if (id !== null && conversation.value.id === id && !conversation.value.error) return;
  following?.abort();
  live.value = null;
  refused.value = null;
  conversation.value = blank(id);
  if (id !== null) await reload(id);
}

/** Reads a chat's turns, all of them, and follows its answer. */
export async function reload(id: bigint): Promise<void> {
  const api = backend.value;
  if (!api) return;
  try {
    const turns: ChatTurn[] = [];
    let info: ChatInfo;
    do {
      const part = ok(await api.canister.chat_history({ chat: id, from: turns.length, limit: PAGE }));
      info = part.info;
      if (part.turns.length === 0) break;
      turns.push(...part.turns);
    } while (turns.length < info.turns);
    if (conversation.value.id !== id) return;
    conversation.value = { id, info, turns, loading: false, error: null };
    const running = info.running[0];
    if (running !== undefined) void watch(id, running);
  } catch (error) {
    if (conversation.value.id !== id) return;
    conversation.value = { ...conversation.value, loading: false, error: message(error) };
  }
}

async function watch(chat: bigint, generation: bigint): Promise<void> {
  const api = backend.value;
  if (!api) return;
  following?.abort();
  const mine = (following = new AbortController());
  announcement.value = 'The answer is being written.';
  try {
    const last = await follow(api, generation, mine.signal, (progress) => (live.value = progress));
    if (!last) return;
    if (last.speed !== null) speeds.set(generation, last.speed);
    announcement.value = `Answer: ${last.text}`;
  } catch (error) {
    if (mine.signal.aborted) return;
    refused.value = message(error);
  }
  await reload(chat);
  if (!mine.signal.aborted) live.value = null;
  void refresh();
}

/** Reads the list of chats. */
export async function refresh(): Promise<void> {
  const api = backend.value;
  if (!api) return;
  try {
    const first = await api.canister.chat_list({ before: [], limit: LISTED });
    list.value = first;
    listError.value = null;
  } catch (error) {
    listError.value = message(error);
  }
}

/** Reads older chats. */
export async function more(): Promise<void> {
  const last = list.value?.at(-1);
  if (!backend.value || !last) return;
  const older = await backend.value.canister.chat_list({ before: [last.id], limit: LISTED });
  list.value = [...(list.value ?? []), ...older];
}

/** Whether there may be older chats. */
export const hasMore = (chats: ChatInfo[]): boolean => chats.length > 0 && chats.length % LISTED === 0;

/**
 * Asks; `from` is the number of the user's turn that is replaced, with all later ones. `again`: the same
 * question, for another answer. Returns true if the canister accepted the question.
 */
export async function ask(content: string, from?: number, again = false): Promise<boolean> {
  const api = backend.value;
  const shown = conversation.value;
  if (!api || sending.value || live.value || content.trim() === '') return false;
  const wrong = wrongSetting(settings.value);
  if (wrong) {
    refused.value = wrong;
    return false;
  }
  const system = settings.value.system.trim();
  const first = from ?? (shown.id === null ? (system ? 1 : 0) : shown.turns.length);
  sending.value = { content, from: first };
  refused.value = null;
  try {
    let id = shown.id;
    if (id === null) {
      const chat = ok(
        await api.canister.chat_create({
          title: [],
          system: system ? [system] : [],
          overflow: [{ Slide: null }],
        }),
      );
      id = chat.id;
    }
    try {
      ok(
        await api.canister.chat_send({
          chat: id,
          content,
          options: [options(settings.value, again)],
          model: [],
          replace_from: from === undefined ? [] : [from],
        }),
      );
    } catch (error) {
      // A chat without a question is of no use.
      if (shown.id === null && error instanceof Refused) void api.canister.chat_delete(id);
      throw error;
    }
    if (conversation.value === shown) {
      if (shown.id === null) {
        conversation.value = { ...blank(id), loading: false };
        go({ view: 'chat', id }, true);
      }
      await reload(id);
    }
    tell(id);
    void refresh();
    return true;
  } catch (error) {
    refused.value = message(error);
    nudge();
    return false;
  } finally {
    sending.value = null;
  }
}

/** Ends the answer that is being written. */
export async function stop(): Promise<void> {
  const id = live.value?.generation.id;
  if (!backend.value || id === undefined) return;
  try {
    ok(await backend.value.canister.cancel(id));
  } catch (error) {
    refused.value = message(error);
  }
}

export async function rename(id: bigint, title: string): Promise<void> {
  if (!backend.value) return;
  try {
    ok(await backend.value.canister.chat_rename(id, title));
    tell(id);
    await refresh();
  } catch (error) {
    listError.value = message(error);
  }
}

export async function remove(id: bigint): Promise<void> {
  if (!backend.value) return;
  try {
    ok(await backend.value.canister.chat_delete(id));
    tell(id);
    list.value = list.value?.filter((chat) => chat.id !== id) ?? null;
    if (conversation.value.id === id) go({ view: 'chat', id: null }, true);
  } catch (error) {
    listError.value = message(error);
  }
}
