//! The command line.

use crate::numbers::{decimal, whole};
use candid::Principal;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use interface::Options;
use interface::limits::{DEFAULT_ALIAS, MAX_CHUNK_BYTES, MESSAGE_INSTRUCTIONS};
use loader::{folders, management, network, shards};
use std::path::PathBuf;

/// Uploads models to the LLM canister, watches it and talks to it.
#[derive(Parser)]
#[command(name = "loader", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Reads the command line; ends the program if it asks for help or is wrong.
    pub(crate) fn read() -> Self {
        let matches: ArgMatches = command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Returns the command line's definition. A number below zero is a value, which its option refuses, and no
/// option that is not known.
fn command() -> clap::Command {
    let negative = |argument: clap::Arg| match argument.get_action().takes_values() {
        true => argument.allow_negative_numbers(true),
        false => argument,
    };
    Arguments::command().mut_subcommands(|command| command.mut_args(negative))
}

/// Options of every command.
#[derive(Args)]
pub(crate) struct Global {
    /// Address of the network, or "ic", or "local" (http://127.0.0.1:4943, the default)
    /// [env: LLM_NETWORK].
    #[arg(long = "network", global = true, value_name = "URL")]
    network: Option<String>,
    /// The canister to call [env: LLM_CANISTER]. Without it, the one that `loader install` installed last
    /// on this network.
    #[arg(long = "canister", global = true, value_name = "ID", value_parser = principal)]
    canister: Option<Principal>,
    /// Private key that signs the calls, PEM: ed25519, secp256k1 or P-256 [env: LLM_IDENTITY]. Without it,
    /// calls to a local replica are signed with a key kept in ~/.config/llm-canister, calls to other
    /// networks are anonymous.
    #[arg(long = "identity", global = true, value_name = "PEM")]
    identity: Option<PathBuf>,
    /// Print JSON for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    /// Returns the network: the option, else the environment, else the local replica.
    pub(crate) fn network(&self) -> String {
        self.network
            .clone()
            .filter(|network| !network.is_empty())
            .or_else(|| Some(folders::variable("LLM_NETWORK")?.to_string_lossy().into()))
            .unwrap_or_else(|| network::LOCAL.into())
    }

    /// Returns the canister that was named: by the option, else by the environment.
    pub(crate) fn canister(&self) -> anyhow::Result<Option<Principal>> {
        if self.canister.is_some() {
            return Ok(self.canister);
        }
        let named = folders::variable("LLM_CANISTER");
        let named = named.map(|id| principal(&id.to_string_lossy())).transpose();
        named.map_err(|error| anyhow::anyhow!("LLM_CANISTER: {error}"))
    }

    /// Returns the key that was named: by the option, else by the environment.
    pub(crate) fn identity(&self) -> Option<PathBuf> {
        let named = self
            .identity
            .clone()
            .filter(|path| !path.as_os_str().is_empty());
        named.or_else(|| folders::variable("LLM_IDENTITY").map(PathBuf::from))
    }
}

fn principal(text: &str) -> Result<Principal, String> {
    Principal::from_text(text.trim()).map_err(|_| {
        format!("{text:?} is no canister id; expected one such as rrkah-fqaaa-aaaaa-aaaaq-cai")
    })
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a canister (on a local replica) and install the code, or upgrade it.
    Install(Install),
    /// Upload a model (GGUF) and wait until it is ready. Resumes an interrupted upload. The first model
    /// answers at once; others are stored beside it until `use` (or --use) switches to them.
    Upload(Upload),
    /// List the canister's models and aliases, and the models known by name.
    Models,
    /// Switch to another model: the one of before answers until it is ready.
    Use(Use),
    /// Switch back to the previous model.
    Rollback(Rollback),
    /// Delete a model and free its space.
    Delete(Delete),
    /// Show what the canister and its model are doing.
    Status,
    /// Ask one question. The answer appears while it is generated on chain.
    Prompt(Prompt),
    /// Have a conversation, which the canister keeps.
    Chat(Chat),
    /// Change the canister's settings, and show them.
    Config(Config),
    /// End a generation early.
    Cancel {
        /// Id of the generation.
        #[arg(value_parser = whole(0..=u64::MAX))]
        id: u64,
    },
    /// Drop an unfinished or failed upload and free its space.
    Abort,
    /// Check that the canister runs this code and this model, certified by the subnet.
    Verify(Verify),
    /// Print the principal that signs the calls.
    Principal,
}

#[derive(Args)]
pub(crate) struct Install {
    /// The canister's code, .wasm or .wasm.gz.
    pub(crate) wasm: PathBuf,
    /// What to do; "auto" upgrades a canister that has code and installs in one that has none.
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    pub(crate) mode: Mode,
    /// Stop the canister during an upgrade, as dfx and icp do. This is not needed.
    #[arg(long)]
    pub(crate) stop: bool,
    /// Cycles of a new canister on a local replica.
    #[arg(long, value_name = "N", default_value_t = 100_000_000_000_000, value_parser = whole(0..=u128::MAX))]
    pub(crate) cycles: u128,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
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
pub(crate) struct Upload {
    /// The model: a GGUF file, the first file of a split model, all its files in order, or a name
    /// that `loader models` lists.
    #[arg(required = true, value_name = "FILE|NAME")]
    pub(crate) model: Vec<PathBuf>,
    /// Size of a chunk (bytes).
    #[arg(long, value_name = "N", default_value_t = shards::DEFAULT_CHUNK_SIZE,
        value_parser = whole(1..=MAX_CHUNK_BYTES))]
    pub(crate) chunk_size: u32,
    /// Chunks in flight at the same time. Without it, as many as make the upload faster.
    #[arg(long, value_name = "N", value_parser = whole(1..=1_000usize))]
    pub(crate) parallel: Option<usize>,
    /// Switch to the model when it is ready.
    #[arg(long, conflicts_with = "alias")]
    pub(crate) r#use: bool,
    /// Point this alias at the model when it is ready.
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Option<String>,
    /// Switch to the model and delete the one that answers now. Drops an unfinished upload of another file.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Show what the model needs and costs, and upload nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Use {
    /// An alias, a file's name, or at least 8 digits of its SHA-256.
    pub(crate) model: String,
    /// The alias to point at it.
    #[arg(long, default_value = DEFAULT_ALIAS)]
    pub(crate) alias: String,
}

#[derive(Args)]
pub(crate) struct Rollback {
    /// The alias.
    #[arg(long, default_value = DEFAULT_ALIAS)]
    pub(crate) alias: String,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// An alias, a file's name, or at least 8 digits of its SHA-256.
    pub(crate) model: String,
    /// Delete it also if an alias means it or generations run on it, which end.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct Prompt {
    /// The question; "-" reads it from standard input.
    pub(crate) text: String,
    /// Continue this text as it is, without the model's chat template.
    #[arg(long, conflicts_with_all = ["system", "tools"])]
    pub(crate) raw: bool,
    /// Functions that the model may call, if its chat template supports tools: a JSON file with one or a list.
    #[arg(long, value_name = "FILE")]
    pub(crate) tools: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
}

#[derive(Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) sampling: Sampling,
}

#[derive(Args, Clone)]
pub(crate) struct Sampling {
    /// The model to ask: an alias, a file's name, or digits of its SHA-256.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// System prompt.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Longest answer (tokens).
    #[arg(long, value_name = "N", value_parser = whole(1..=u32::MAX))]
    pub(crate) max_tokens: Option<u32>,
    /// Randomness, 0 to 100; 0 always takes the most likely token.
    #[arg(long, value_name = "T", value_parser = decimal(0.0..=100.0))]
    pub(crate) temperature: Option<f32>,
    /// Sample from the K most likely tokens only; 0: from all.
    #[arg(long, value_name = "K", value_parser = whole(0..=u32::MAX))]
    pub(crate) top_k: Option<u32>,
    /// Sample from the most likely tokens whose probabilities add up to P, 0 to 1.
    #[arg(long, value_name = "P", value_parser = decimal(0.0..=1.0))]
    pub(crate) top_p: Option<f32>,
    /// Above 1, makes repetitions less likely; 0.1 to 10.
    #[arg(long, value_name = "R", value_parser = decimal(0.1..=10.0))]
    pub(crate) repetition_penalty: Option<f32>,
    /// End the answer before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// Seed of the random numbers: the same seed gives the same answer.
    #[arg(long, value_name = "N", value_parser = whole(0..=u64::MAX))]
    pub(crate) seed: Option<u64>,
}

impl Sampling {
    /// Returns the options of the interface.
    pub(crate) fn options(&self) -> Options {
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
pub(crate) struct Verify {
    /// The code as built here: target/canister/llm.wasm, or the file that was installed.
    #[arg(long, value_name = "FILE", required_unless_present = "model")]
    pub(crate) wasm: Option<PathBuf>,
    /// The model file.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Config {
    /// Instruction budget of a slice.
    #[arg(long, value_name = "N", value_parser = whole(1_000_000..=MESSAGE_INSTRUCTIONS))]
    pub(crate) round_instructions: Option<u64>,
    /// Longest prompt and answer together (tokens).
    #[arg(long, value_name = "N", value_parser = whole(2..=u32::MAX))]
    pub(crate) max_context_tokens: Option<u32>,
    /// Most generations that may wait or run at the same time.
    #[arg(long, value_name = "N", value_parser = whole(1..=10_000u32))]
    pub(crate) max_generations: Option<u32>,
    /// Longest answer (tokens).
    #[arg(long, value_name = "N", value_parser = whole(1..=u32::MAX))]
    pub(crate) max_output_tokens: Option<u32>,
    /// Who may generate.
    #[arg(long, value_enum)]
    pub(crate) access: Option<Access>,
    /// Tokens that a caller may use per day; 0: no limit.
    #[arg(long, value_name = "N", value_parser = whole(0..=u64::MAX))]
    pub(crate) tokens_per_day: Option<u64>,
    /// Tokens of a caller's generations that have not ended; 0: no limit.
    #[arg(long, value_name = "N", value_parser = whole(0..=u64::MAX))]
    pub(crate) tokens_in_flight: Option<u64>,
    /// Generations of a caller at the same time; 0: no limit.
    #[arg(long, value_name = "N", value_parser = whole(0..=u32::MAX))]
    pub(crate) generations_per_caller: Option<u32>,
    /// Chats of a caller; 0: no limit.
    #[arg(long, value_name = "N", value_parser = whole(0..=u32::MAX))]
    pub(crate) chats_per_caller: Option<u32>,
    /// A controller's share of the work, as a multiple of another caller's.
    #[arg(long, value_name = "N", value_parser = whole(1..=100u32))]
    pub(crate) controller_weight: Option<u32>,
    /// Largest KV cache in stable memory (bytes).
    #[arg(long, value_name = "N", value_parser = whole(0..=u64::MAX))]
    pub(crate) max_kv_bytes: Option<u64>,
    /// Largest stable memory in all (bytes).
    #[arg(long, value_name = "N", value_parser = whole(0..=u64::MAX))]
    pub(crate) max_stable_bytes: Option<u64>,
    /// Cycles above the freezing threshold below which no work is done.
    #[arg(long, value_name = "N", value_parser = whole(0..=u128::MAX))]
    pub(crate) min_cycles: Option<u128>,
    /// Price of a million tokens for calling canisters (cycles); 0: free.
    #[arg(long, value_name = "N", value_parser = whole(0..=u128::from(u64::MAX)))]
    pub(crate) cycles_per_million_tokens: Option<u128>,
}

/// Who may generate.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Access {
    Controllers,
    AllowList,
    SignedIn,
    Anyone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn numbers_below_zero_are_values() {
        let config = Config::augment_args(clap::Command::new("config"));
        let of_config = config
            .get_arguments()
            .filter(|a| a.get_value_names() == Some(&["N".into()]));
        let mut options: Vec<(&str, String)> = of_config
            .filter_map(|argument| Some(("config", argument.get_long()?.to_string())))
            .collect();
        assert!(options.len() > 10);
        for option in [
            "max-tokens",
            "temperature",
            "top-k",
            "top-p",
            "repetition-penalty",
            "seed",
        ] {
            options.push(("prompt", option.into()));
        }
        for (sub, option) in options {
            let mut line = vec![
                "loader".to_string(),
                sub.into(),
                format!("--{option}"),
                "-1".into(),
            ];
            line.extend((sub == "prompt").then(|| "x".into()));
            let said = command()
                .try_get_matches_from(line)
                .unwrap_err()
                .to_string();
            let expected = format!("invalid value '-1' for '--{option}");
            assert!(
                said.contains(&expected) && said.contains(": expected a "),
                "{said}"
            );
        }
        let said = command()
            .try_get_matches_from(["loader", "cancel", "-1"])
            .unwrap_err();
        assert!(
            said.to_string().contains("expected a whole number"),
            "{said}"
        );
    }
}
