//! Where chats are kept: their records, turns, tokens, whose they are, and which were not used for
//! longest.

use crate::durable::{Chat, History, Turn};
use crate::memory::{self, Region};
use crate::pages::Pages;
use candid::Principal;
use ic_stable_structures::StableBTreeMap;

/// Owner (length, bytes, zeros) and chat (big-endian), so that an owner's chats lie together.
type OwnerKey = [u8; 38];

/// All chats.
pub struct ChatStore {
    pub chats: StableBTreeMap<u64, Chat, Region>,
    owners: StableBTreeMap<OwnerKey, (), Region>,
    pub turns: StableBTreeMap<(u64, u32), Turn, Region>,
    pub histories: StableBTreeMap<u64, History, Region>,
    resting: StableBTreeMap<(u64, u64), (), Region>,
}

fn owner_key(owner: &Principal, chat: u64) -> OwnerKey {
    let mut key = [0; 38];
    let bytes = owner.as_slice();
    key[0] = bytes.len() as u8;
    key[1..=bytes.len()].copy_from_slice(bytes);
    key[30..].copy_from_slice(&chat.to_be_bytes());
    key
}

impl ChatStore {
    /// Opens what stable memory holds.
    pub fn open() -> Self {
        Self {
            chats: StableBTreeMap::init(memory::chats()),
            owners: StableBTreeMap::init(memory::owners()),
            turns: StableBTreeMap::init(memory::turns()),
            histories: StableBTreeMap::init(memory::histories()),
            resting: StableBTreeMap::init(memory::resting()),
        }
    }

    /// Puts a new chat in.
    pub fn add(&mut self, chat: Chat) {
        self.owners.insert(owner_key(&chat.owner, chat.id), ());
        self.chats.insert(chat.id, chat);
    }

    /// Puts a chat back.
    pub fn put(&mut self, chat: Chat) {
        self.chats.insert(chat.id, chat);
    }

    /// Removes a chat and everything of it; its pages are to be released by the caller.
    pub fn remove(&mut self, chat: &Chat) {
        self.wake(chat);
        self.drop_turns(chat, 0);
        self.histories.remove(&chat.id);
        self.owners.remove(&owner_key(&chat.owner, chat.id));
        self.chats.remove(&chat.id);
    }

    /// Removes the turns from number `from` on.
    pub fn drop_turns(&mut self, chat: &Chat, from: u32) {
        for turn in from..chat.turns {
            self.turns.remove(&(chat.id, turn));
        }
    }

    /// Ids of an owner's chats, newest first, those below `before`.
    pub fn of_owner(&self, owner: &Principal, before: u64) -> impl Iterator<Item = u64> + '_ {
        let range = owner_key(owner, 0)..owner_key(owner, before);
        self.owners.keys_range(range).rev().map(|key| {
            let mut id = [0; 8];
            id.copy_from_slice(&key[30..]);
            u64::from_be_bytes(id)
        })
    }

    /// A chat has been used: its pages rest from now on, until it is used again or they are dropped.
    pub fn rest(&mut self, chat: &Chat) {
        if !chat.pages.is_empty() {
            self.resting.insert((chat.used, chat.id), ());
        }
    }

    /// A chat is being used: its pages are not to be dropped.
    pub fn wake(&mut self, chat: &Chat) {
        self.resting.remove(&(chat.used, chat.id));
    }

    /// Chats that hold pages and are not being used.
    pub fn resting(&self) -> u64 {
        self.resting.len()
    }

    /// Drops the pages of the chat that was not used for longest. `false`: none has any.
    pub fn evict_oldest(&mut self, pages: &mut Pages) -> bool {
        let Some(((_, id), ())) = self.resting.pop_first() else {
            return false;
        };
        if let Some(mut chat) = self.chats.get(&id) {
            for page in std::mem::take(&mut chat.pages) {
                pages.release(page);
            }
            chat.cached = 0;
            self.put(chat);
        }
        true
    }

    /// Every page is gone at once.
    pub fn forget_resting(&mut self) {
        self.resting.clear_new();
    }
}
