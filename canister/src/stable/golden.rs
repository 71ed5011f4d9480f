//! Golden bytes: one value of every stored type, in every version.
//!
//! `golden/NAME-VERSION.hex` has the bytes that a program of that version wrote. Today's code must read
//! them as the value here, and write the newest version as the same bytes. When a type must change, add
//! a version and a new file beside the old one: see "When a stored type must change" in CONTRIBUTING.
//! `UPDATE_GOLDEN=1 cargo test -p llm-canister golden` writes files that are missing, and no others.

use super::codec::{Stored, encode, try_decode};
use super::ids::{ChatId, GenerationId, ModelSlot, Sha256};
use super::records::*;
use candid::Principal;
use std::fmt::Debug;
use std::path::PathBuf;

fn file<T: Stored>() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/stable/golden");
    folder.join(format!("{}-{}.hex", T::NAME, T::VERSION))
}

/// Checks a value of today's version against its golden bytes.
fn check<T: Stored + PartialEq + Debug>(value: &T) {
    let file = file::<T>();
    let bytes = encode(value);
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    if !file.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        let lines = digits.as_bytes().chunks(100);
        let lines = lines.map(|l| String::from_utf8_lossy(l).into_owned() + "\n");
        std::fs::write(&file, lines.collect::<String>()).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_else(|e| {
        panic!(
            "{}: {e}: a stored type needs its golden bytes",
            file.display()
        )
    });
    let golden: String = golden.split_whitespace().collect();
    assert_eq!(
        golden,
        digits,
        "{} is written in another way than before: add a version, do not change this one",
        T::NAME
    );
    assert_eq!(try_decode::<T>(&bytes).as_ref(), Some(value));
}

fn owner() -> Principal {
    Principal::from_slice(&[1, 2, 3, 4])
}

fn block(n: u32) -> KvBlock {
    KvBlock {
        index: n,
        epoch: (3 << 56) + u64::from(n),
    }
}

fn config() -> Config {
    Config {
        round_instructions: 1_001,
        max_context_tokens: 1_002,
        max_generations: 1_003,
        max_output_tokens: 1_004,
        access: Access::SignedIn,
        tokens_per_day: 1_005,
        tokens_in_flight: 1_006,
        generations_per_caller: 1_007,
        chats_per_caller: 1_008,
        controller_weight: 9,
        max_kv_bytes: 1_010,
        max_stable_bytes: 1_011,
        min_cycles: 1 << 80,
        cycles_per_million_tokens: 1_012,
    }
}

fn totals() -> Totals {
    Totals {
        prompt_tokens: 201,
        cached_tokens: 202,
        generated_tokens: 203,
        prompt_instructions: 204,
        generate_instructions: 205,
        model_instructions: 206,
        overhead_instructions: 207,
        generations_finished: 208,
        generations_failed: 209,
        slices_lost: 210,
        evictions: 211,
    }
}

/// Every error, so that the number of each variant is in the golden bytes.
fn errors() -> Vec<Error> {
    let text = |n: u8| format!("error {n}");
    vec![
        Error::Unauthorized(text(0)),
        Error::InvalidArgument(text(1)),
        Error::NotFound(text(2)),
        Error::WrongPhase {
            phase: text(3),
            hint: "hint".into(),
        },
        Error::WrongChunk {
            index: 4,
            reason: text(4),
        },
        Error::MissingChunks {
            first: vec![5, 6],
            count: 7,
        },
        Error::HashMismatch {
            expected: vec![8],
            actual: vec![9],
        },
        Error::InvalidModel(text(7)),
        Error::UnsupportedModel(text(8)),
        Error::PromptTooLong {
            prompt_tokens: 10,
            max_prompt_tokens: 11,
        },
        Error::BudgetTooSmall {
            round_instructions: 12,
            needed: 13,
        },
        Error::Busy(text(11)),
        Error::OutOfMemory(text(12)),
        Error::RoundFailed(text(13)),
        Error::Cancelled,
        Error::Stopping { id: 14 },
        Error::QuotaExceeded {
            what: text(16),
            limit: 15,
            used: 16,
            resets_ns: Some(17),
        },
        Error::LowCycles(text(17)),
        Error::PaymentRequired {
            required: 18,
            attached: 19,
        },
    ]
}

/// A type that puts every variant of every stored enum into one value, with a file of its own.
#[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
struct Variants {
    access: Vec<Access>,
    items: Vec<WorkItem>,
    stages: Vec<Stage>,
    model_stages: Vec<ModelStage>,
    finishes: Vec<Finish>,
    roles: Vec<Role>,
    overflows: Vec<Overflow>,
    levels: Vec<LogLevel>,
    errors: Vec<Error>,
}

super::codec::stored!(Variants, 1);

#[test]
fn variants() {
    check(&Variants {
        access: vec![
            Access::Controllers,
            Access::AllowList,
            Access::SignedIn,
            Access::Anyone,
        ],
        items: vec![
            WorkItem::Model(ModelSlot(4)),
            WorkItem::Generation(GenerationId(5)),
            WorkItem::Migration,
        ],
        stages: vec![
            Stage::Start,
            Stage::Layer(3, vec![1.5, -2.0]),
            Stage::Head(vec![0.25]),
        ],
        model_stages: vec![
            ModelStage::Uploading,
            ModelStage::Verifying {
                words: [1, 2, 3, 4, 5, 6, 7, 8],
                hashed: 64,
            },
            ModelStage::Preparing,
            ModelStage::Ready,
            ModelStage::Failed,
        ],
        finishes: vec![
            Finish::EndOfText,
            Finish::MaxTokens,
            Finish::Stop,
            Finish::ContextFull,
        ],
        roles: vec![Role::Ordinary, Role::Allowed, Role::Banned],
        overflows: vec![Overflow::Error, Overflow::Slide],
        levels: vec![LogLevel::Info, LogLevel::Warning, LogLevel::Error],
        errors: errors(),
    });
}

#[test]
fn control() {
    check(&Control {
        layout: 1,
        engine: 77,
        config: config(),
        aliases: vec![Alias {
            name: "default".into(),
            model: Sha256([1; 32]),
            next: Some(Sha256([2; 32])),
            previous: vec![Sha256([3; 32])],
        }],
        in_flight: Some(InFlight {
            sequence: 301,
            item: WorkItem::Generation(GenerationId(302)),
            attempt: 2,
            sent: true,
            sent_at: 303,
        }),
        next_sequence: 304,
        next_generation: 305,
        next_chat: 306,
        last_scheduled: GenerationId(307),
        slices: 308,
        max_message_instructions: 309,
        entropy: Some([4; 32]),
        seeds_drawn: 310,
        chat_uses: 311,
        served: 312,
        totals: totals(),
        paused: Some("low cycles".into()),
        migrated: GenerationId(313),
    });
}

#[test]
fn model_record() {
    check(&ModelRecord {
        stage: ModelStage::Ready,
        name: "model.gguf".into(),
        size: 401,
        chunk_size: 402,
        sha256: Sha256([5; 32]),
        chunks: 403,
        chunks_received: 404,
        prepared: 405,
        info: ModelInfo {
            architecture: "llama".into(),
            parameters: 406,
            layers: 407,
            context_length: 408,
            vocabulary: 409,
            packed_bytes: 410,
            block_bytes: 411,
            verify_instructions: 412,
            prepare_instructions: 413,
            restore_instructions: 414,
        },
        error: Some(Error::Cancelled),
    });
}

#[test]
fn generation_record() {
    check(&GenerationRecord {
        id: GenerationId(501),
        owner: owner(),
        model: Sha256([6; 32]),
        created: 502,
        options: SamplingOptions {
            temperature: 0.5,
            top_k: 503,
            top_p: 0.75,
            repetition_penalty: 1.25,
            seed: 504,
            max_tokens: 505,
            max_context: 506,
            stops: vec!["stop".into()],
        },
        tokens: vec![1, 2, 300],
        prompt_tokens: 2,
        computed: 507,
        stage: Stage::Layer(8, vec![0.125, -4.0]),
        text: "text".into(),
        pending: vec![0xe2],
        prompt_instructions: 508,
        generate_instructions: 509,
        end: Some(Ok(Finish::Stop)),
        slices: 510,
        max_message_instructions: 511,
        block_table: vec![block(1), block(2)],
        public: 512,
        cached: 513,
        chat: Some((ChatId(514), 515)),
        recent: vec![SliceFigures {
            instructions: 516,
            budget: 517,
            tokens: 518,
        }],
        reserved: 519,
        paid: 520,
        price: 521,
    });
}

#[test]
fn account() {
    check(&Account {
        role: Role::Allowed,
        served: 601,
        day: 602,
        tokens: 603,
        in_flight: 604,
        generations: 605,
        chats: 606,
        owed: 607,
    });
}

#[test]
fn queue_entry() {
    check(&QueueEntry {
        owner: owner(),
        served: 701,
        last_slice: 702,
        weight: 703,
        lost: 704,
    });
}

#[test]
fn chat_record() {
    check(&ChatRecord {
        id: ChatId(801),
        owner: owner(),
        title: "title".into(),
        created: 802,
        updated: 803,
        overflow: Overflow::Slide,
        turns: 804,
        system: true,
        first_read: 805,
        aligned: 806,
        running: Some(GenerationId(807)),
        model: Some(Sha256([7; 32])),
        tokens: 808,
        cached: 809,
        public: 810,
        block_table: vec![block(3)],
        used: 811,
    });
}

#[test]
fn chat_turn() {
    check(&ChatTurn {
        role: "assistant".into(),
        content: "content".into(),
        start: 901,
        generation: Some(GenerationId(902)),
        prompt_tokens: 903,
        cached_tokens: 904,
        generated_tokens: 905,
        instructions: 906,
        slices: 907,
        seed: 908,
        end: Some(Err(Error::Busy("busy".into()))),
        model: Some(Sha256([8; 32])),
    });
}

#[test]
fn log_entry() {
    check(&LogEntry {
        time: 1_001,
        level: LogLevel::Warning,
        by: Some(owner()),
        text: "line".into(),
    });
}

#[test]
fn token_history() {
    use ic_stable_structures::Storable;
    let history = TokenHistory(vec![1, 0x0203_0405]);
    let bytes = [1, 0, 0, 0, 5, 4, 3, 2];
    assert_eq!(history.to_bytes().as_ref(), bytes);
    assert_eq!(TokenHistory::from_bytes(bytes.to_vec().into()), history);
}

/// Each type that `records.rs` makes storable has a test here.
#[test]
fn every_stored_type_has_golden_bytes() {
    let records = include_str!("records.rs");
    let names = records
        .lines()
        .filter_map(|line| line.strip_prefix("stored!(")?.split([',', ')']).next());
    let mut count = 0;
    for name in names {
        count += 1;
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/stable/golden");
        let file = folder.join(format!("{name}-1.hex"));
        assert!(
            file.exists(),
            "{name} has no golden bytes: {}",
            file.display()
        );
    }
    assert_eq!(count, 8);
}
