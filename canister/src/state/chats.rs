//! Chats: their records, turns and tokens, who owns them, and which were used least recently.

use crate::kv_cache::{BlockPools, block_table};
use crate::stable::ids::ChatId;
use crate::stable::records::{ChatRecord, ChatTurn, TokenHistory};
use crate::stable::regions::{self, Region};
use candid::Principal;
use ic_stable_structures::StableBTreeMap;

/// Owner (length, bytes, zeros) and chat (big-endian), so that the chats of an owner are neighbours.
type OwnerKey = [u8; 38];

/// All chats.
pub(crate) struct ChatStore {
    pub chats: StableBTreeMap<ChatId, ChatRecord, Region>,
    owners: StableBTreeMap<OwnerKey, (), Region>,
    pub turns: StableBTreeMap<(u64, u32), ChatTurn, Region>,
    pub histories: StableBTreeMap<ChatId, TokenHistory, Region>,
    cached: StableBTreeMap<(u64, u64), (), Region>,
}

fn owner_key(owner: &Principal, chat: ChatId) -> OwnerKey {
    let mut key = [0; 38];
    let bytes = owner.as_slice();
    key[0] = bytes.len() as u8;
    key[1..=bytes.len()].copy_from_slice(bytes);
    key[30..].copy_from_slice(&chat.0.to_be_bytes());
    key
}

impl ChatStore {
    /// Opens what stable memory holds.
    pub(crate) fn open() -> Self {
        Self {
            chats: StableBTreeMap::init(regions::chats()),
            owners: StableBTreeMap::init(regions::chat_owners()),
            turns: StableBTreeMap::init(regions::chat_turns()),
            histories: StableBTreeMap::init(regions::chat_histories()),
            cached: StableBTreeMap::init(regions::cached_chats()),
        }
    }

    /// Puts a new chat in.
    pub(crate) fn add(&mut self, chat: ChatRecord) {
        self.owners.insert(owner_key(&chat.owner, chat.id), ());
        self.chats.insert(chat.id, chat);
    }

    /// Puts a chat back.
    pub(crate) fn put(&mut self, chat: ChatRecord) {
        self.chats.insert(chat.id, chat);
    }

    /// Removes a chat and everything of it; the caller releases its KV blocks.
    pub(crate) fn remove(&mut self, chat: &ChatRecord) {
        self.mark_busy(chat);
        self.drop_turns(chat, 0);
        self.histories.remove(&chat.id);
        self.owners.remove(&owner_key(&chat.owner, chat.id));
        self.chats.remove(&chat.id);
    }

    /// Removes the turns from number `from` on.
    pub(crate) fn drop_turns(&mut self, chat: &ChatRecord, from: u32) {
        for turn in from..chat.turns {
            self.turns.remove(&(chat.id.0, turn));
        }
    }

    /// Returns the ids of an owner's chats below `before`, newest first.
    pub(crate) fn of_owner(
        &self,
        owner: &Principal,
        before: ChatId,
    ) -> impl Iterator<Item = ChatId> + '_ {
        let range = owner_key(owner, ChatId(0))..owner_key(owner, before);
        self.owners.keys_range(range).rev().map(|key| {
            let mut id = [0; 8];
            id.copy_from_slice(&key[30..]);
            ChatId(u64::from_be_bytes(id))
        })
    }

    /// A chat has been answered: its KV blocks may be evicted from now on.
    pub(crate) fn mark_idle(&mut self, chat: &ChatRecord) {
        if !chat.block_table.is_empty() {
            self.cached.insert((chat.used, chat.id.0), ());
        }
    }

    /// A chat is being answered: its KV blocks are not evicted.
    pub(crate) fn mark_busy(&mut self, chat: &ChatRecord) {
        self.cached.remove(&(chat.used, chat.id.0));
    }

    /// Returns the number of chats whose KV blocks may be evicted.
    pub(crate) fn cached(&self) -> u64 {
        self.cached.len()
    }

    /// Releases the KV blocks of the least recently used chat. Returns `false` if no chat has any.
    pub(crate) fn evict_oldest(&mut self, pools: &mut BlockPools) -> bool {
        let Some(((_, id), ())) = self.cached.pop_first() else {
            return false;
        };
        if let Some(mut chat) = self.chats.get(&ChatId(id)) {
            block_table::release_all(&mut chat.block_table, pools);
            chat.cached = 0;
            self.put(chat);
        }
        true
    }

    /// Every KV block is gone at once.
    pub(crate) fn forget_cached(&mut self) {
        self.cached.clear_new();
    }
}
