//! Whatever happens in whatever order, a finished answer has the tokens of the same chat run alone,
//! and nothing of stable memory is lost.

use anyhow::{Context, Result, ensure};
use candid::{Nat, Principal};
use e2e::harness::{Direct, caller, drawn, greedy};
use e2e::tiny_model::{Random, smallest};
use interface::{
    ChatSendArgs, Config, ConfigPatch, Done, Error, GenerationState, Options, Outcome, Started,
};
use replica::management::types::CanisterSettings;

const CHATS: usize = 8;
const CALLERS: u64 = 4;
const STEPS: usize = 50;

/// A question that was answered to its end.
#[derive(Clone)]
struct Answered {
    question: String,
    options: Options,
    tokens: Vec<u32>,
}

/// A chat as this test knows it.
struct Chat {
    owner: Principal,
    id: u64,
    system: Option<String>,
    answered: Vec<Answered>,
    /// What runs: the generation, its question and options.
    running: Option<(u64, String, Options)>,
    /// The last question was not answered to its end: the next one takes its place.
    broken: bool,
}

struct Case {
    d: Direct,
    random: Random,
    chats: Vec<Chat>,
    squeezed: bool,
    finished: Vec<Chat>,
    failures: usize,
}

fn words(random: &mut Random, most: u64) -> String {
    let all = [
        "the",
        "an",
        "other",
        "12",
        "rain",
        "is",
        "<|im_end|>",
        "on",
        "é",
        "that",
        "?",
    ];
    let n = 1 + random.below(most);
    let some = (0..n).map(|_| all[random.below(all.len() as u64) as usize]);
    some.collect::<Vec<_>>().join(" ")
}

impl Case {
    fn chat(&mut self) -> Result<Chat> {
        let owner = caller(1 + self.random.below(CALLERS));
        // Few system prompts, some longer than a page: chats share them.
        let system = match self.random.below(3) {
            0 => None,
            1 => Some("You answer like the rain on the other morning, that is all. ".repeat(3)),
            _ => Some("Be brief.".into()),
        };
        Ok(Chat {
            owner,
            id: self.d.chat(owner, system.as_deref())?,
            system,
            answered: Vec::new(),
            running: None,
            broken: false,
        })
    }

    /// Takes over what has ended.
    fn look(&mut self) -> Result<()> {
        for chat in &mut self.chats {
            let Some((id, question, options)) = chat.running.take() else {
                continue;
            };
            let look = self.d.look(chat.owner, id)?;
            match look.state {
                GenerationState::Finished(_) => chat.answered.push(Answered {
                    question,
                    options,
                    tokens: look.token_ids,
                }),
                GenerationState::Failed(
                    Error::Cancelled | Error::OutOfMemory(_) | Error::RoundFailed(_),
                ) => {
                    chat.broken = true;
                    self.failures += 1;
                }
                GenerationState::Failed(e) => return Err(anyhow::anyhow!("{e:?}")),
                _ => chat.running = Some((id, question, options)),
            }
        }
        Ok(())
    }

    fn send(&mut self, n: usize) -> Result<()> {
        let chat = &mut self.chats[n];
        if chat.running.is_some() {
            return Ok(());
        }
        let question = words(&mut self.random, 25);
        let max_tokens = 1 + self.random.below(70) as u32;
        let options = match self.random.chance(50) {
            true => greedy(max_tokens),
            false => drawn(max_tokens, self.random.next()),
        };
        let system = u32::from(chat.system.is_some());
        // The question that failed makes room; now and then an earlier one does as well.
        let mut keep = chat.answered.len();
        if keep > 0 && self.random.chance(15) {
            keep = self.random.below(keep as u64) as usize;
        }
        let replaces = chat.broken || keep < chat.answered.len();
        let send = ChatSendArgs {
            chat: chat.id,
            content: question.clone(),
            options: Some(options.clone()),
            replace_from: replaces.then_some(system + 2 * keep as u32),
            ..ChatSendArgs::default()
        };
        let sent: Outcome<Started> = self.d.update(chat.owner, "chat_send", (send,))?;
        match sent {
            Ok(started) => {
                chat.answered.truncate(keep);
                chat.broken = false;
                chat.running = Some((started.id, question, options));
            }
            Err(Error::WrongPhase { .. } | Error::Busy(_)) => {}
            Err(e) => return Err(anyhow::anyhow!("{e:?}")),
        }
        Ok(())
    }

    fn squeeze(&mut self, on: bool) -> Result<()> {
        let limit = if on { 65_536u64 } else { 3 << 30 };
        self.squeezed = on;
        self.d.settings(CanisterSettings {
            wasm_memory_limit: Some(Nat::from(limit)),
            ..CanisterSettings::default()
        })
    }

    fn step(&mut self) -> Result<()> {
        if self.squeezed {
            // Every message traps meanwhile, rounds and the timer too.
            let rounds = self.random.below(30) as usize;
            self.d.rounds(rounds);
            return self.squeeze(false);
        }
        let n = self.random.below(CHATS as u64) as usize;
        match self.random.below(100) {
            0..55 => self.send(n)?,
            55..62 => {
                if let Some((id, _, _)) = self.chats[n].running {
                    let done: Done = self.d.update(self.chats[n].owner, "cancel", (id,))?;
                    done?;
                }
            }
            62..67 => {
                let done: Done =
                    self.d
                        .update(self.chats[n].owner, "chat_delete", (self.chats[n].id,))?;
                done?;
                self.look()?;
                let new = self.chat()?;
                let old = std::mem::replace(&mut self.chats[n], new);
                self.finished.push(old);
            }
            67..72 => self.d.upgrade()?,
            72..76 => self.squeeze(true)?,
            76..86 => {
                let budgets = [9_000_000, 12_000_000, 80_000_000, 1_900_000_000];
                let budget = budgets[self.random.below(4) as usize];
                self.d.budget(budget)?;
            }
            _ => {
                // Room for a few pages only, or for all: eviction while others run.
                let pages = [3, 10, 30, 100_000][self.random.below(4) as usize];
                let page = self.d.status()?.cache.block_bytes.max(1);
                self.d.config(ConfigPatch {
                    max_kv_bytes: Some(pages * page),
                    ..ConfigPatch::default()
                })?;
            }
        }
        let rounds = self.random.below(4) as usize;
        self.d.rounds(rounds);
        self.look()
    }
}

/// The same chat, alone.
fn alone(d: &mut Direct, chat: &Chat) -> Result<()> {
    let owner = caller(1);
    let id = d.chat(owner, chat.system.as_deref())?;
    for (n, turn) in chat.answered.iter().enumerate() {
        let answer = d.answer(owner, id, &turn.question, turn.options.clone())?;
        ensure!(
            answer.token_ids == turn.tokens,
            "turn {n} of chat {}: {:?} instead of {:?}",
            chat.id,
            turn.tokens,
            answer.token_ids
        );
    }
    d.delete_chats(owner)
}

#[test]
fn any_interleaving_gives_the_tokens_of_each_chat_alone() -> Result<()> {
    let cases = match std::env::var_os("LLM_NIGHTLY") {
        Some(_) => 200,
        None => 20,
    };
    let model = smallest();
    let mut reference = Direct::with_model(&model)?;
    let mut case = Case {
        d: Direct::with_model(&model)?,
        random: Random(0),
        chats: Vec::new(),
        squeezed: false,
        finished: Vec::new(),
        failures: 0,
    };
    case.d.one_message_a_round();
    case.d.inspects = false;
    let defaults: Config = case.d.status()?.config;
    let (mut answers, mut failures) = (0, 0);
    for seed in 0..cases {
        case.random = Random(seed);
        for _ in 0..CHATS {
            let chat = case.chat()?;
            case.chats.push(chat);
        }
        for step in 0..STEPS {
            case.step()
                .with_context(|| format!("case {seed}, step {step}"))?;
        }
        if case.squeezed {
            case.squeeze(false)?;
        }
        case.d.config(ConfigPatch {
            round_instructions: Some(defaults.round_instructions),
            max_kv_bytes: Some(defaults.max_kv_bytes),
            ..ConfigPatch::default()
        })?;
        case.d.until_ready()?;
        case.d.settle()?;
        case.look()?;
        let all = case.chats.drain(..).chain(case.finished.drain(..));
        for chat in all.collect::<Vec<_>>() {
            answers += chat.answered.len();
            alone(&mut reference, &chat).with_context(|| format!("case {seed}"))?;
        }
        failures += std::mem::take(&mut case.failures);

        // Nothing is left of it.
        for n in 0..=CALLERS {
            case.d.delete_chats(caller(n))?;
        }
        let s = case.d.status()?;
        let left = (
            s.cache.blocks_used,
            s.cache.shareable_blocks,
            s.cache.cached_chats,
            s.chats,
            s.generations_running,
        );
        ensure!(left == (0, 0, 0, 0, 0), "case {seed} leaves {left:?}");
        for n in 1..=CALLERS {
            let account: interface::AccountInfo = case.d.query(caller(n), "account", ())?;
            ensure!(
                (account.tokens_in_flight, account.generations, account.chats) == (0, 0, 0),
                "case {seed}: {account:?}"
            );
        }
    }
    let totals = case.d.status()?.totals;
    println!(
        "{cases} cases: {answers} answers as alone, {failures} ended early, {} rounds lost, {} \
         evictions, {} of {} prompt tokens not read again",
        totals.rounds_lost,
        totals.evictions,
        totals.cached_tokens,
        totals.cached_tokens + totals.prompt_tokens
    );
    ensure!(answers as u64 > cases * 10 && totals.evictions > 0 && totals.rounds_lost > 0);
    Ok(())
}
