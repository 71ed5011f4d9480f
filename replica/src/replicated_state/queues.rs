//! What waits for a canister and what it has sent, in the IC's order: input is taken in turns from
//! another canister and from users, and among canisters one message each.

use super::messages::{IngressMessage, Input, Request, Response};
use candid::Principal;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A message between canisters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Letter {
    /// A call.
    Request(Request),
    /// The answer to a call.
    Response(Response),
}

impl Letter {
    fn sender(&self) -> Principal {
        match self {
            Letter::Request(request) => request.sender,
            Letter::Response(response) => response.respondent,
        }
    }

    fn receiver(&self) -> Principal {
        match self {
            Letter::Request(request) => request.receiver,
            Letter::Response(response) => response.receiver,
        }
    }
}

/// Letters by the canister at the other end, served in turns.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Turns(VecDeque<(Principal, VecDeque<Letter>)>);

impl Turns {
    fn push(&mut self, key: Principal, letter: Letter) {
        match self.0.iter_mut().find(|(other, _)| *other == key) {
            Some((_, letters)) => letters.push_back(letter),
            None => self.0.push_back((key, [letter].into())),
        }
    }

    fn pop(&mut self) -> Option<Letter> {
        let (key, mut letters) = self.0.pop_front()?;
        let letter = letters.pop_front();
        if !letters.is_empty() {
            self.0.push_back((key, letters));
        }
        letter
    }

    /// Takes the requests with deadlines that `late` picks.
    fn take_late(&mut self, late: impl Fn(u64) -> bool) -> Vec<Request> {
        let mut taken = Vec::new();
        for (_, letters) in &mut self.0 {
            letters.retain(|letter| match letter {
                Letter::Request(request) if late(request.deadline_ns) => {
                    taken.push(request.clone());
                    false
                }
                _ => true,
            });
        }
        self.0.retain(|(_, letters)| !letters.is_empty());
        taken
    }

    fn letters(&self) -> impl Iterator<Item = &Letter> {
        self.0.iter().flat_map(|(_, letters)| letters)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Turn {
    #[default]
    Canisters,
    Users,
}

/// A canister's queues.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Queues {
    ingress: VecDeque<IngressMessage>,
    input: Turns,
    output: Turns,
    turn: Turn,
}

impl Queues {
    /// Adds a user's message.
    pub fn push_ingress(&mut self, message: IngressMessage) {
        self.ingress.push_back(message);
    }

    /// Adds a letter from a canister.
    pub fn push_input(&mut self, letter: Letter) {
        self.input.push(letter.sender(), letter);
    }

    /// True when something waits.
    pub fn has_input(&self) -> bool {
        !self.ingress.is_empty() || !self.input.0.is_empty()
    }

    /// Takes what comes next.
    pub fn pop_input(&mut self) -> Option<Input> {
        for _ in 0..2 {
            let turn = self.turn;
            match turn {
                Turn::Canisters => {
                    self.turn = Turn::Users;
                    if let Some(letter) = self.input.pop() {
                        return Some(match letter {
                            Letter::Request(request) => Input::Request(request),
                            Letter::Response(response) => Input::Response(response),
                        });
                    }
                }
                Turn::Users => {
                    self.turn = Turn::Canisters;
                    if let Some(message) = self.ingress.pop_front() {
                        return Some(Input::Ingress(message));
                    }
                }
            }
        }
        None
    }

    /// Puts back what was taken last.
    pub fn push_front(&mut self, input: Input) {
        let letter = match input {
            Input::Ingress(message) => {
                self.ingress.push_front(message);
                self.turn = Turn::Users;
                return;
            }
            Input::Request(request) => Letter::Request(request),
            Input::Response(response) => Letter::Response(response),
        };
        let sender = letter.sender();
        let letters = &mut self.input.0;
        let mut queue = match letters.iter().position(|(other, _)| *other == sender) {
            Some(at) => letters
                .remove(at)
                .map_or_else(VecDeque::new, |(_, queue)| queue),
            None => VecDeque::new(),
        };
        queue.push_front(letter);
        letters.push_front((sender, queue));
        self.turn = Turn::Canisters;
    }

    /// Adds a letter to be delivered.
    pub fn push_output(&mut self, letter: Letter) {
        self.output.push(letter.receiver(), letter);
    }

    /// Takes the next letter to be delivered.
    pub fn pop_output(&mut self) -> Option<Letter> {
        self.output.pop()
    }

    /// Takes the users' messages that `expired` picks.
    pub fn take_expired(
        &mut self,
        expired: impl Fn(&IngressMessage) -> bool,
    ) -> Vec<IngressMessage> {
        let (gone, kept): (Vec<_>, Vec<_>) = self.ingress.drain(..).partition(|m| expired(m));
        self.ingress = kept.into();
        gone
    }

    /// Takes the calls that have not begun and whose deadline `late` picks.
    pub fn take_late(&mut self, late: impl Fn(u64) -> bool) -> Vec<Request> {
        self.input.take_late(late)
    }

    /// Bytes of what waits.
    pub fn bytes(&self) -> u64 {
        let ingress: u64 = self.ingress.iter().map(|m| m.arg.len() as u64).sum();
        let letters = self.input.letters().chain(self.output.letters());
        ingress
            + letters
                .map(|letter| match letter {
                    Letter::Request(request) => request.bytes(),
                    Letter::Response(response) => response.bytes(),
                })
                .sum::<u64>()
    }
}
