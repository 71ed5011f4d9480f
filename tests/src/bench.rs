//! The instruction figures: what the canister costs, all of it, as the replica meters it.

use crate::chats::{greedy, set_budget, until_ready};
use crate::profile::Profile;
use crate::{Testbed, upload_file};
use anyhow::{Context, Result, ensure};
use candid::{Decode, Encode, Principal};
use ic_agent::Identity;
use interface::{Generation, GenerationArgs, Input, Phase};
use loader::Client;
use loader::management::{self, Mode};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Figures of one model, by name.
pub type Figures = BTreeMap<String, f64>;

/// Text the prompts are cut from: long enough for every context.
const TEXT: &str = include_str!("../data/alice.txt");
/// The budget of a round in normal use.
const ROUND: u64 = interface::limits::SLICE_INSTRUCTIONS;

/// Takes a stage's name, its instructions by function, and all there were.
pub type TakeProfile<'a> = &'a dyn Fn(&str, Profile, u64);

/// What to measure.
pub struct Plan<'a> {
    /// The model file.
    pub file: &'a Path,
    /// Positions at which decoding is measured besides the start.
    pub contexts: &'a [usize],
    /// Tells what is being measured.
    pub progress: &'a dyn Fn(&str),
    /// Takes, for each stage, where its instructions went (all there were) instead of nothing.
    /// The process must have called [`replica::enable_profile`].
    pub profile: Option<TakeProfile<'a>>,
}

struct Bench<'a> {
    plan: &'a Plan<'a>,
    testbed: &'a Testbed,
    client: Client,
    tokenizer: engine::Tokenizer,
}

/// A moment: instructions of all messages so far, and a generation's state.
struct Moment {
    instructions: u64,
    generation: Generation,
}

/// Measures on a canister of its own.
pub async fn measure(plan: &Plan<'_>) -> Result<Figures> {
    let mut figures = Figures::new();
    let mut put = |name: &str, value: f64| {
        (plan.progress)(&format!("  {name} {value:.3}"));
        figures.insert(name.into(), value);
    };
    let source = weights::gguf::source::FileSource::open(plan.file)?;
    let header = weights::GgufFile::read(&source)?;
    let tokenizer = engine::Tokenizer::from_gguf(&source, &header)?;
    let config = engine::Config::from_gguf(&header)?;
    let weights_per_token =
        (config.head_macs() + config.layers as u64 * config.layer_macs()) as f64;
    let file_bytes = std::fs::metadata(plan.file)?.len() as f64;

    (plan.progress)("upload, hash, prepare");
    let testbed = Testbed::on_replica()?;
    let client = testbed.install().await?;
    let bench = Bench {
        plan,
        testbed: &testbed,
        client,
        tokenizer,
    };
    let before = bench.instructions()?;
    let start = bench.profile()?;
    upload_file(&bench.client, plan.file).await?;
    bench.tell("upload, hash, prepare", &start, before)?;
    let all = (bench.instructions()? - before) as f64;
    let info = bench
        .client
        .status()
        .await?
        .model
        .info
        .context("no model information")?;
    let receive = receive_cost(plan.file).await?;
    put("receive_instructions_per_byte", receive);
    put(
        "hash_instructions_per_byte",
        info.verify_instructions as f64 / file_bytes,
    );
    let load = all - receive * file_bytes - info.verify_instructions as f64;
    put("load_instructions_per_byte", load / file_bytes);

    (plan.progress)("restore after an upgrade");
    let before = bench.instructions()?;
    let (network, canister) = (bench.client.network(), bench.client.canister());
    management::install(network, canister, &crate::wasm()?, Mode::Upgrade).await?;
    until_ready(&bench.client).await?;
    bench.tell("restore", &Profile::default(), before)?;
    let restore = (bench.instructions()? - before) as f64;
    put(
        "restore_instructions_per_byte",
        restore / info.packed_bytes as f64,
    );

    (plan.progress)("decode after a prompt of 32 tokens");
    let one = bench.cost_of(32, 1).await?;
    let (start, before) = (bench.profile()?, bench.instructions()?);
    let decode = (bench.cost_of(32, 65).await? - one) as f64 / 64.0;
    bench.tell("prompt of 32 and 65 tokens", &start, before)?;
    put("decode_instructions_per_token", decode);
    put("decode_instructions_per_weight", decode / weights_per_token);
    put("weights_per_token", weights_per_token);

    (plan.progress)("prefill of 256 tokens");
    let few = bench.cost_of(2, 1).await?;
    let (start, before) = (bench.profile()?, bench.instructions()?);
    let prefill = (bench.cost_of(256, 1).await? - few) as f64 / 254.0;
    bench.tell("prefill of 256 tokens", &start, before)?;
    put("prefill_instructions_per_token", prefill);
    let without_head = weights_per_token - config.head_macs() as f64;
    put("prefill_instructions_per_weight", prefill / without_head);

    (plan.progress)("tokens in one update of 40 billion instructions");
    set_budget(&bench.client, interface::limits::MESSAGE_INSTRUCTIONS).await?;
    let id = bench.start(2, 4_000).await?;
    let first = bench.when(id, |g| g.rounds >= 1).await?;
    put(
        "tokens_per_40b_update",
        f64::from(first.generation.generated_tokens),
    );
    bench.client.cancel(id).await?;
    set_budget(&bench.client, ROUND).await?;

    for context in plan.contexts {
        (plan.progress)(&format!("decode at a context of {context}"));
        let id = bench.start(context - 32, 65).await?;
        let begin = bench.when(id, |g| g.generated_tokens > 0).await?;
        let end = bench.when(id, |g| g.state.is_over()).await?;
        let tokens = end.generation.generated_tokens - begin.generation.generated_tokens;
        ensure!(tokens > 16, "only {tokens} tokens were seen");
        let cost = (end.instructions - begin.instructions) as f64 / f64::from(tokens);
        put(&format!("decode_instructions_per_token_ctx{context}"), cost);
        if *context == 4096 {
            let macs = (2 * config.layers * config.q_dim() * (4096 - 64)) as f64;
            put("instructions_per_attention_mac", (cost - decode) / macs);
        }
    }
    put("wasm_bytes", crate::wasm()?.len() as f64);
    Ok(figures)
}

/// Instructions to receive a byte of a chunk.
async fn receive_cost(file: &Path) -> Result<f64> {
    let testbed = Testbed::on_replica()?;
    let client = testbed.install().await?;
    let shards = loader::shards::ShardedFile::open(file, 1_900_000, |_, _| ())?;
    client.upload_begin(shards.manifest()).await?;
    let bench_canister = client.canister();
    let before = totals(&testbed, bench_canister)?;
    let mut bytes = 0;
    for index in 0..4 {
        let chunk = shards.chunk(index)?;
        bytes += chunk.len();
        client.upload_chunk(index, &chunk).await?;
    }
    ensure!(
        client.status().await?.model.phase == Phase::Uploading,
        "the upload was over"
    );
    Ok((totals(&testbed, bench_canister)? - before) as f64 / bytes as f64)
}

fn totals(testbed: &Testbed, canister: Principal) -> Result<u64> {
    let totals = testbed
        .replica()?
        .with_replica(move |r| r.totals(&canister))?;
    Ok(totals.context("no such canister")?.instructions)
}

impl Bench<'_> {
    fn instructions(&self) -> Result<u64> {
        totals(self.testbed, self.client.canister())
    }

    fn profile(&self) -> Result<Profile> {
        let canister = self.client.canister();
        let counts = self
            .testbed
            .replica()?
            .with_replica(move |r| r.profile(&canister))?;
        Ok(Profile::new(counts))
    }

    /// Reports where the instructions since `before` went.
    fn tell(&self, stage: &str, start: &Profile, before: u64) -> Result<()> {
        if let Some(take) = self.plan.profile {
            take(
                stage,
                self.profile()?.since(start),
                self.instructions()? - before,
            );
        }
        Ok(())
    }

    /// Starts a generation after a prompt of exactly this many tokens.
    async fn start(&self, prompt_tokens: usize, max_tokens: u32) -> Result<u64> {
        let text = self.prompt(prompt_tokens)?;
        let started = self
            .client
            .generate(Input::Prompt(text), greedy(max_tokens))
            .await?;
        ensure!(
            started.prompt_tokens as usize == prompt_tokens,
            "{} tokens",
            started.prompt_tokens
        );
        Ok(started.id)
    }

    /// Instructions of a whole generation, from the call to its last round.
    async fn cost_of(&self, prompt_tokens: usize, max_tokens: u32) -> Result<u64> {
        let before = self.instructions()?;
        let id = self.start(prompt_tokens, max_tokens).await?;
        let end = self.when(id, |g| g.state.is_over()).await?;
        ensure!(
            end.generation.generated_tokens == max_tokens,
            "{:?}",
            end.generation.state
        );
        Ok(end.instructions - before)
    }

    /// The first moment between two rounds at which `yes` holds.
    async fn when(&self, id: u64, yes: impl Fn(&Generation) -> bool) -> Result<Moment> {
        let (canister, caller) = (
            self.client.canister(),
            crate::controller().sender().map_err(anyhow::Error::msg)?,
        );
        let arg = Encode!(&GenerationArgs {
            id,
            from_byte: 0,
            from_token: 0
        })?;
        loop {
            let arg = arg.clone();
            let (instructions, reply) = self.testbed.replica()?.with_replica(move |r| {
                let instructions = r.totals(&canister).map_or(0, |t| t.instructions);
                (instructions, r.query(caller, canister, "generation", &arg))
            })?;
            let reply = match reply {
                replica::QueryResult::Replied(reply) => reply,
                replica::QueryResult::Rejected(reject) => anyhow::bail!("rejected: {reject:?}"),
            };
            let generation = Decode!(&reply, std::result::Result<Generation, interface::Error>)??;
            if yes(&generation) {
                return Ok(Moment {
                    instructions,
                    generation,
                });
            }
            ensure!(
                !generation.state.is_over(),
                "it ended: {:?}",
                generation.state
            );
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// A beginning of the text that has exactly this many tokens. Cut between two tokens, a text may
    /// be tokenized otherwise than it was within the whole: the next cuts are tried then.
    fn prompt(&self, tokens: usize) -> Result<String> {
        let ids = self.tokenizer.encode_plain(TEXT)?;
        for cut in tokens..ids.len().min(tokens + 16) {
            let mut bytes = Vec::new();
            for id in &ids[..cut] {
                self.tokenizer.decode(*id, &mut bytes);
            }
            let text = String::from_utf8(bytes)?;
            if self.tokenizer.encode_plain(&text)?.len() == tokens {
                return Ok(text);
            }
        }
        anyhow::bail!("no beginning of the text has {tokens} tokens")
    }
}

/// Whether a figure is more than 2 % off.
pub fn differs(before: f64, now: f64) -> bool {
    (now - before).abs() > 0.02 * before.abs()
}
