//! One typed method for each method of the canister.

use crate::{Error, Network, Result};
use candid::utils::ArgumentEncoder;
use candid::{CandidType, Principal};
use ic_agent::AgentError;
use interface::limits::MAX_ARGUMENT_BYTES;
use interface::{
    AccessChange, AccountInfo, AliasSetArgs, Answer, ChatCreateArgs, ChatHistory, ChatHistoryArgs,
    ChatInfo, ChatListArgs, ChatSendArgs, Chunk, Config, ConfigPatch, Done, GenerateArgs,
    Generation, GenerationArgs, Input, LogEntry, Manifest, ModelDeleteArgs, Models, Options,
    Outcome, Range, Started, Status,
};
use serde::de::DeserializeOwned;

/// The method whose arguments are the largest: chunks have a limit of their own.
const UPLOAD_CHUNK: &str = "upload_chunk";

/// Calls one LLM canister. Cheap to clone; calls of clones run in parallel.
///
/// ```no_run
/// use interface::{GenerateArgs, Input, Options};
/// use loader::{Client, Network, generate};
///
/// # async fn example(network: Network) -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(network, "rrkah-fqaaa-aaaaa-aaaaq-cai".parse()?);
/// let question = GenerateArgs {
///     input: Input::Prompt("The three primary colours are".into()),
///     options: Some(Options {
///         max_tokens: Some(20),
///         ..Options::default()
///     }),
///     ..GenerateArgs::default()
/// };
/// let started = client.generate_with(question).await?;
/// let answer = generate::follow(&client, started.id, |_| ()).await?;
/// println!("{}", answer.text);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Each method returns [`Error::Canister`] if the canister refuses, [`Error::Call`] if the network does,
/// and [`Error::TooLarge`] if the arguments do not fit a message.
#[derive(Clone)]
pub struct Client {
    network: Network,
    canister: Principal,
}

impl Client {
    /// Returns a client of the given canister.
    pub fn new(network: Network, canister: Principal) -> Self {
        Self { network, canister }
    }

    /// Returns the canister.
    pub fn canister(&self) -> Principal {
        self.canister
    }

    /// Returns the network that it is on.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Begins an upload, or resumes the one with the same manifest.
    pub async fn upload_begin(&self, manifest: &Manifest) -> Result<()> {
        Ok(self.update::<Done>("upload_begin", (manifest,)).await??)
    }

    /// Stores chunk `index`.
    pub async fn upload_chunk(&self, index: u32, data: &[u8]) -> Result<()> {
        let data = serde_bytes::Bytes::new(data);
        let chunk = Chunk { index, data };
        Ok(self.update::<Done>(UPLOAD_CHUNK, (chunk,)).await??)
    }

    /// Returns the chunks that are missing.
    pub async fn upload_missing(&self) -> Result<Vec<Range>> {
        self.query("upload_missing", ()).await
    }

    /// Returns the chunks that are missing after all messages that the subnet accepted before.
    pub async fn upload_missing_certified(&self) -> Result<Vec<Range>> {
        self.update("upload_missing", ()).await
    }

    /// Makes the canister verify and prepare the stored file.
    pub async fn upload_commit(&self) -> Result<()> {
        Ok(self.update::<Done>("upload_commit", ()).await??)
    }

    /// Drops an unfinished or failed upload.
    pub async fn upload_abort(&self) -> Result<()> {
        Ok(self.update::<Done>("upload_abort", ()).await??)
    }

    /// Returns all models and aliases.
    pub async fn models(&self) -> Result<Models> {
        self.query("models", ()).await
    }

    /// Returns all models and aliases, certified by the subnet: slower, and not the word of one node.
    pub async fn models_certified(&self) -> Result<Models> {
        self.update("models", ()).await
    }

    /// Points an alias at a model as soon as that is ready.
    pub async fn alias_set(&self, alias: &str, model: &str) -> Result<()> {
        let (alias, model) = (alias.into(), model.into());
        let argument = AliasSetArgs { alias, model };
        Ok(self.update::<Done>("alias_set", (argument,)).await??)
    }

    /// Points an alias at the model that it meant before.
    pub async fn alias_rollback(&self, alias: &str) -> Result<()> {
        Ok(self.update::<Done>("alias_rollback", (alias,)).await??)
    }

    /// Removes an alias.
    pub async fn alias_remove(&self, alias: &str) -> Result<()> {
        Ok(self.update::<Done>("alias_remove", (alias,)).await??)
    }

    /// Deletes a model; with `force`, also if it is in use.
    pub async fn model_delete(&self, model: &str, force: bool) -> Result<()> {
        let model = model.into();
        let argument = ModelDeleteArgs { model, force };
        Ok(self.update::<Done>("model_delete", (argument,)).await??)
    }

    /// Changes settings. Returns all of them.
    pub async fn set_config(&self, patch: ConfigPatch) -> Result<Config> {
        Ok(self
            .update::<Outcome<Config>>("set_config", (patch,))
            .await??)
    }

    /// Sets the roles of callers.
    pub async fn set_access(&self, changes: &[AccessChange]) -> Result<()> {
        Ok(self.update::<Done>("set_access", (changes,)).await??)
    }

    /// Returns what the caller has used of its quotas.
    pub async fn account(&self) -> Result<AccountInfo> {
        self.query("account", ()).await
    }

    /// Returns lines of the log from number `from` on.
    pub async fn logs(&self, from: u64) -> Result<Vec<LogEntry>> {
        Ok(self
            .query::<Outcome<Vec<LogEntry>>>("logs", (from,))
            .await??)
    }

    /// Returns metrics in Prometheus's text format.
    pub async fn metrics(&self) -> Result<String> {
        self.query("metrics", ()).await
    }

    /// Returns the status of the canister.
    pub async fn status(&self) -> Result<Status> {
        self.query("status", ()).await
    }

    /// Returns the status, certified by the subnet: slower, and not the word of one node.
    pub async fn status_certified(&self) -> Result<Status> {
        self.update("status", ()).await
    }

    /// Starts a generation on the default model.
    pub async fn generate(&self, input: Input, options: Option<Options>) -> Result<Started> {
        let request = GenerateArgs {
            input,
            options,
            ..GenerateArgs::default()
        };
        self.generate_with(request).await
    }

    /// Starts a generation.
    pub async fn generate_with(&self, request: GenerateArgs) -> Result<Started> {
        Ok(self
            .update::<Outcome<Started>>("generate", (request,))
            .await??)
    }

    /// Returns what a generation has produced from a byte of its text and from a token on.
    pub async fn generation(&self, id: u64, from_byte: u32, from_token: u32) -> Result<Generation> {
        let request = GenerationArgs {
            id,
            from_byte,
            from_token,
        };
        Ok(self
            .query::<Outcome<Generation>>("generation", (request,))
            .await??)
    }

    /// Ends a generation early.
    pub async fn cancel(&self, id: u64) -> Result<()> {
        Ok(self.update::<Done>("cancel", (id,)).await??)
    }

    /// Asks one question and waits for the answer, in one call.
    pub async fn prompt(&self, text: &str) -> Result<Answer> {
        Ok(self.update::<Outcome<Answer>>("prompt", (text,)).await??)
    }

    /// Creates a chat.
    pub async fn chat_create(&self, chat: &ChatCreateArgs) -> Result<ChatInfo> {
        Ok(self
            .update::<Outcome<ChatInfo>>("chat_create", (chat,))
            .await??)
    }

    /// Asks the next question of a chat; a generation answers it.
    pub async fn chat_send(&self, question: &ChatSendArgs) -> Result<Started> {
        Ok(self
            .update::<Outcome<Started>>("chat_send", (question,))
            .await??)
    }

    /// Returns at most `limit` turns of a chat, from number `from` on.
    pub async fn chat_history(&self, chat: u64, from: u32, limit: u32) -> Result<ChatHistory> {
        let request = ChatHistoryArgs { chat, from, limit };
        Ok(self
            .query::<Outcome<ChatHistory>>("chat_history", (request,))
            .await??)
    }

    /// Returns at most `limit` of the caller's chats, newest first; with `before`, those with a smaller id.
    pub async fn chat_list(&self, before: Option<u64>, limit: u32) -> Result<Vec<ChatInfo>> {
        let request = ChatListArgs { before, limit };
        self.query("chat_list", (request,)).await
    }

    /// Changes the title of a chat.
    pub async fn chat_rename(&self, chat: u64, title: &str) -> Result<()> {
        Ok(self.update::<Done>("chat_rename", (chat, title)).await??)
    }

    /// Deletes a chat.
    pub async fn chat_delete(&self, chat: u64) -> Result<()> {
        Ok(self.update::<Done>("chat_delete", (chat,)).await??)
    }

    async fn update<T: CandidType + DeserializeOwned>(
        &self,
        method: &str,
        arguments: impl ArgumentEncoder,
    ) -> Result<T> {
        let arguments = encode(method, arguments)?;
        if method != UPLOAD_CHUNK && arguments.len() > MAX_ARGUMENT_BYTES {
            return Err(Error::TooLarge {
                call: method.into(),
                bytes: arguments.len(),
                limit: MAX_ARGUMENT_BYTES,
            });
        }
        let call = self
            .network
            .agent
            .update(&self.canister, method)
            .with_arg(arguments);
        let reply = call.call_and_wait().await;
        decode(method, &reply.map_err(|e| refused_early(method, e))?)
    }

    async fn query<T: CandidType + DeserializeOwned>(
        &self,
        method: &str,
        arguments: impl ArgumentEncoder,
    ) -> Result<T> {
        let arguments = encode(method, arguments)?;
        let call = self
            .network
            .agent
            .query(&self.canister, method)
            .with_arg(arguments);
        decode(method, &call.call().await.map_err(Error::call(method))?)
    }
}

/// A refusal of `canister_inspect_message` comes as a trap with the error in its text.
fn refused_early(method: &str, error: AgentError) -> Error {
    let text = match &error {
        AgentError::CertifiedReject { reject, .. }
        | AgentError::UncertifiedReject { reject, .. } => &reject.reject_message,
        _ => return Error::call(method)(error),
    };
    match interface::refusal::decode(text) {
        Some(refusal) => Error::Canister(refusal),
        None => Error::call(method)(error),
    }
}

pub(crate) fn encode(method: &str, arguments: impl ArgumentEncoder) -> Result<Vec<u8>> {
    candid::encode_args(arguments).map_err(|source| Error::Candid {
        method: method.into(),
        source,
    })
}

pub(crate) fn decode<T: CandidType + DeserializeOwned>(method: &str, reply: &[u8]) -> Result<T> {
    candid::decode_one(reply).map_err(|source| Error::Candid {
        method: method.into(),
        source,
    })
}
