//! What the command line takes.

use candid::Principal;
use clap::{Args, Parser, Subcommand, ValueEnum};
use interface::Options;
use interface::limits::DEFAULT_ALIAS;
use loader::{management, network, shards};
use std::path::PathBuf;

/// Uploads models to the LLM canister, watches it and talks to it.
#[derive(Parser)]
#[command(name = "loader", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args)]
pub struct Global {
    /// Address of the network; "ic" and "local" are known.
    #[arg(long, global = true, env = "LLM_NETWORK", default_value = network::LOCAL, value_name = "URL")]
    pub network: String,
    /// The canister to speak to.
    #[arg(long, global = true, env = "LLM_CANISTER", value_name = "ID")]
    pub canister: Option<Principal>,
    /// Private key that signs the calls (PEM: ed25519, secp256k1 or P-256). Without it, a local
    /// replica is called with a key kept in ~/.config/llm-canister, other networks anonymously.
    #[arg(long, global = true, env = "LLM_IDENTITY", value_name = "PEM")]
    pub identity: Option<PathBuf>,
    /// Print JSON for programs.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Create a canister (on a local replica) and install the code, or upgrade it.
    Install(Install),
    /// Upload a model (GGUF) and wait until it is ready. Resumes what was interrupted. The first model
    /// is the one that answers; others wait beside it until `use` (or --use) switches to them.
    Upload(Upload),
    /// List the canister's models and aliases, and the models known by name.
    Models,
    /// Switch to another model: the one of before answers until it is ready.
    Use(Use),
    /// Switch back to the model of before.
    Rollback(Rollback),
    /// Delete a model and free its space.
    Delete(Delete),
    /// Show what the canister and its model are doing.
    Status,
    /// Ask once: the answer appears as it is generated on chain.
    Prompt(Prompt),
    /// Converse; the model sees the whole conversation each time.
    Chat(Chat),
    /// Change the canister's settings and show them.
    Config(Config),
    /// End a generation early.
    Cancel {
        /// The generation's id.
        id: u64,
    },
    /// Drop the upload that is not finished, or what failed, and free its space.
    Abort,
    /// Check, against the subnet's certificates, that the canister runs this code and this model.
    Verify(Verify),
    /// Print the principal that signs the calls.
    Principal,
}

#[derive(Args)]
pub struct Install {
    /// The canister's code, .wasm or .wasm.gz.
    pub wasm: PathBuf,
    /// What to do; "auto" upgrades where there is code.
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    pub mode: Mode,
    /// Stop the canister around an upgrade, as dfx and icp do. It is not needed.
    #[arg(long)]
    pub stop: bool,
    /// Cycles of a new canister on a local replica.
    #[arg(long, default_value_t = 100_000_000_000_000)]
    pub cycles: u128,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Mode {
    Auto,
    Install,
    Upgrade,
    Reinstall,
}

impl From<Mode> for management::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Auto => Self::Auto,
            Mode::Install => Self::Install,
            Mode::Upgrade => Self::Upgrade,
            Mode::Reinstall => Self::Reinstall,
        }
    }
}

#[derive(Args)]
pub struct Upload {
    /// The model: a GGUF file, the first file of a split model, all its files in order, or a name
    /// that `loader models` lists.
    #[arg(required = true, value_name = "FILE|NAME")]
    pub model: Vec<PathBuf>,
    /// Bytes of a chunk.
    #[arg(long, default_value_t = shards::DEFAULT_CHUNK_SIZE)]
    pub chunk_size: u32,
    /// Chunks on their way at once. Without it, as many as make it faster.
    #[arg(long)]
    pub parallel: Option<usize>,
    /// Switch to the model when it is ready.
    #[arg(long, conflicts_with = "alias")]
    pub r#use: bool,
    /// Let this alias mean the model when it is ready.
    #[arg(long, value_name = "NAME")]
    pub alias: Option<String>,
    /// Switch to the model and delete the one that answered before; drop another unfinished upload.
    #[arg(long)]
    pub replace: bool,
    /// Tell what the model needs and costs; upload nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct Use {
    /// An alias, a file's name, or at least 8 digits of its SHA-256.
    pub model: String,
    /// The alias that is to mean it.
    #[arg(long, default_value = DEFAULT_ALIAS)]
    pub alias: String,
}

#[derive(Args)]
pub struct Rollback {
    /// The alias.
    #[arg(long, default_value = DEFAULT_ALIAS)]
    pub alias: String,
}

#[derive(Args)]
pub struct Delete {
    /// An alias, a file's name, or at least 8 digits of its SHA-256.
    pub model: String,
    /// Also if an alias means it or generations run on it: these end.
    #[arg(long)]
    pub force: bool,
}

#[derive(Args)]
pub struct Prompt {
    /// What to ask; "-" reads it from standard input.
    pub text: String,
    /// Continue the text as it is, without the model's chat template.
    #[arg(long, conflicts_with_all = ["system", "tools"])]
    pub raw: bool,
    /// Functions that the model may ask for, where its template has them: a JSON file with one or a list.
    #[arg(long, value_name = "FILE")]
    pub tools: Option<PathBuf>,
    #[command(flatten)]
    pub sampling: Sampling,
}

#[derive(Args)]
pub struct Chat {
    #[command(flatten)]
    pub sampling: Sampling,
}

#[derive(Args, Clone)]
pub struct Sampling {
    /// The model to ask: an alias, a file's name, or digits of its SHA-256.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Most tokens of an answer.
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// 0 always takes the likeliest token.
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,
    /// Draw among the K likeliest tokens only.
    #[arg(long, value_name = "K")]
    pub top_k: Option<u32>,
    /// Draw among the likeliest tokens whose probabilities add up to P.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Above 1: repeating becomes less likely.
    #[arg(long, value_name = "R")]
    pub repetition_penalty: Option<f32>,
    /// End the answer before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Makes drawing repeatable.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl Sampling {
    /// As the canister takes them.
    pub fn options(&self) -> Options {
        Options {
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
            stop: (!self.stop.is_empty()).then(|| self.stop.clone()),
            seed: self.seed,
        }
    }
}

#[derive(Args)]
pub struct Verify {
    /// The code as built here: target/canister/llm.wasm, or the file that was installed.
    #[arg(long, value_name = "FILE", required_unless_present = "model")]
    pub wasm: Option<PathBuf>,
    /// The model file.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
}

#[derive(Args)]
pub struct Config {
    /// Instructions of one round.
    #[arg(long, value_name = "N")]
    pub round_instructions: Option<u64>,
    /// Longest prompt and answer together (tokens).
    #[arg(long, value_name = "N")]
    pub max_context_tokens: Option<u32>,
    /// Generations that may wait or run at once.
    #[arg(long, value_name = "N")]
    pub max_generations: Option<u32>,
    /// Longest answer (tokens).
    #[arg(long, value_name = "N")]
    pub max_output_tokens: Option<u32>,
    /// Who may generate.
    #[arg(long, value_enum)]
    pub access: Option<Access>,
    /// Tokens a caller may use a day; 0: no limit.
    #[arg(long, value_name = "N")]
    pub tokens_per_day: Option<u64>,
    /// Tokens of a caller's generations that have not ended; 0: no limit.
    #[arg(long, value_name = "N")]
    pub tokens_in_flight: Option<u64>,
    /// Generations of one caller at once; 0: no limit.
    #[arg(long, value_name = "N")]
    pub generations_per_caller: Option<u32>,
    /// Chats a caller may have.
    #[arg(long, value_name = "N")]
    pub chats_per_caller: Option<u32>,
    /// How many times as much as others a controller gets.
    #[arg(long, value_name = "N")]
    pub controller_weight: Option<u32>,
    /// Bytes of KV cache in stable memory.
    #[arg(long, value_name = "N")]
    pub max_kv_bytes: Option<u64>,
    /// Bytes of stable memory in all.
    #[arg(long, value_name = "N")]
    pub max_stable_bytes: Option<u64>,
    /// Cycles above the freezing threshold below which no work is done.
    #[arg(long, value_name = "N")]
    pub min_cycles: Option<u64>,
    /// What canisters pay for a million tokens, in cycles.
    #[arg(long, value_name = "N")]
    pub cycles_per_million_tokens: Option<u64>,
}

/// Who may generate.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Access {
    Controllers,
    AllowList,
    SignedIn,
    Anyone,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }
}
