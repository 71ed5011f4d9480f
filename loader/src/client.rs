//! One typed method for each of the canister's.

use crate::{Error, Network, Result};
use candid::utils::ArgumentEncoder;
use candid::{CandidType, Principal};
use ic_agent::AgentError;
use interface::*;
use serde::de::DeserializeOwned;

/// Speaks to one LLM canister. Cheap to clone; calls of clones run in parallel.
///
/// Each method fails with [`Error::Canister`] where the canister refuses, and with [`Error::Call`]
/// where the network does.
#[derive(Clone)]
pub struct Client {
    network: Network,
    canister: Principal,
}

impl Client {
    /// Speaks to the given canister.
    pub fn new(network: Network, canister: Principal) -> Self {
        Self { network, canister }
    }

    /// The canister spoken to.
    pub fn canister(&self) -> Principal {
        self.canister
    }

    /// The network it is on.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Begins an upload, or goes on with the one that has the same manifest.
    pub async fn upload_begin(&self, manifest: &Manifest) -> Result<()> {
        Ok(self.update::<Done>("upload_begin", (manifest,)).await??)
    }

    /// Stores one chunk.
    pub async fn upload_chunk(&self, index: u32, data: &[u8]) -> Result<()> {
        let data = serde_bytes::Bytes::new(data);
        let chunk = Chunk { index, data };
        Ok(self.update::<Done>("upload_chunk", (chunk,)).await??)
    }

    /// The chunks that are missing.
    pub async fn upload_missing(&self) -> Result<Vec<Range>> {
        self.query("upload_missing", ()).await
    }

    /// The same, after everything that the subnet has taken in before.
    pub async fn upload_missing_certified(&self) -> Result<Vec<Range>> {
        self.update("upload_missing", ()).await
    }

    /// Has the stored file verified and made ready.
    pub async fn upload_commit(&self) -> Result<()> {
        Ok(self.update::<Done>("upload_commit", ()).await??)
    }

    /// Drops the upload that is not finished, or what failed.
    pub async fn upload_abort(&self) -> Result<()> {
        Ok(self.update::<Done>("upload_abort", ()).await??)
    }

    /// All models and aliases.
    pub async fn models(&self) -> Result<Models> {
        self.query("models", ()).await
    }

    /// The same, as the whole subnet certifies it: slower, and not one node's word.
    pub async fn models_certified(&self) -> Result<Models> {
        self.update("models", ()).await
    }

    /// Lets an alias mean a model as soon as that is ready.
    pub async fn alias_set(&self, alias: &str, model: &str) -> Result<()> {
        let (alias, model) = (alias.into(), model.into());
        let argument = AliasSetArgs { alias, model };
        Ok(self.update::<Done>("alias_set", (argument,)).await??)
    }

    /// Lets an alias mean what it meant before.
    pub async fn alias_rollback(&self, alias: &str) -> Result<()> {
        Ok(self.update::<Done>("alias_rollback", (alias,)).await??)
    }

    /// Removes an alias.
    pub async fn alias_remove(&self, alias: &str) -> Result<()> {
        Ok(self.update::<Done>("alias_remove", (alias,)).await??)
    }

    /// Deletes a model; forced also if it is in use.
    pub async fn model_delete(&self, model: &str, force: bool) -> Result<()> {
        let model = model.into();
        let argument = ModelDeleteArgs { model, force };
        Ok(self.update::<Done>("model_delete", (argument,)).await??)
    }

    /// Changes settings; gives all of them as they are then.
    pub async fn set_config(&self, patch: ConfigPatch) -> Result<Config> {
        Ok(self
            .update::<Outcome<Config>>("set_config", (patch,))
            .await??)
    }

    /// Says of callers whether they may generate.
    pub async fn set_access(&self, changes: &[AccessChange]) -> Result<()> {
        Ok(self.update::<Done>("set_access", (changes,)).await??)
    }

    /// What the caller has used of its quota.
    pub async fn account(&self) -> Result<AccountInfo> {
        self.query("account", ()).await
    }

    /// The log's lines from a number on.
    pub async fn logs(&self, from: u64) -> Result<Vec<LogEntry>> {
        Ok(self
            .query::<Outcome<Vec<LogEntry>>>("logs", (from,))
            .await??)
    }

    /// Figures in Prometheus's text format.
    pub async fn metrics(&self) -> Result<String> {
        self.query("metrics", ()).await
    }

    /// The canister at a glance.
    pub async fn status(&self) -> Result<Status> {
        self.query("status", ()).await
    }

    /// The canister at a glance, as the whole subnet certifies it: slower, and not one node's word.
    pub async fn status_certified(&self) -> Result<Status> {
        self.update("status", ()).await
    }

    /// Starts a generation.
    pub async fn generate(&self, input: Input, options: Option<Options>) -> Result<Started> {
        let request = GenerateArgs {
            input,
            options,
            model: None,
            tools: None,
        };
        self.generate_with(request).await
    }

    /// Starts a generation, on a model and with tools if they are given.
    pub async fn generate_with(&self, request: GenerateArgs) -> Result<Started> {
        Ok(self
            .update::<Outcome<Started>>("generate", (request,))
            .await??)
    }

    /// What a generation has produced from a byte of its text and a token on.
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

    /// One question, one answer, in one call.
    pub async fn prompt(&self, text: &str) -> Result<Answer> {
        Ok(self.update::<Outcome<Answer>>("prompt", (text,)).await??)
    }

    /// Begins a chat.
    pub async fn chat_create(&self, chat: &ChatCreateArgs) -> Result<ChatInfo> {
        Ok(self
            .update::<Outcome<ChatInfo>>("chat_create", (chat,))
            .await??)
    }

    /// Asks the next question of a chat; the answer is a generation.
    pub async fn chat_send(&self, question: &ChatSendArgs) -> Result<Started> {
        Ok(self
            .update::<Outcome<Started>>("chat_send", (question,))
            .await??)
    }

    /// Turns of a chat, from a number on.
    pub async fn chat_history(&self, chat: u64, from: u32, limit: u32) -> Result<ChatHistory> {
        let request = ChatHistoryArgs { chat, from, limit };
        Ok(self
            .query::<Outcome<ChatHistory>>("chat_history", (request,))
            .await??)
    }

    /// The caller's chats, newest first, those with an id below `before`.
    pub async fn chat_list(&self, before: Option<u64>, limit: u32) -> Result<Vec<ChatInfo>> {
        let request = ChatListArgs { before, limit };
        self.query("chat_list", (request,)).await
    }

    /// Gives a chat another title.
    pub async fn chat_rename(&self, chat: u64, title: &str) -> Result<()> {
        Ok(self.update::<Done>("chat_rename", (chat, title)).await??)
    }

    /// Removes a chat.
    pub async fn chat_delete(&self, chat: u64) -> Result<()> {
        Ok(self.update::<Done>("chat_delete", (chat,)).await??)
    }

    async fn update<T: CandidType + DeserializeOwned>(
        &self,
        method: &str,
        arguments: impl ArgumentEncoder,
    ) -> Result<T> {
        let arguments = encode(method, arguments)?;
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

/// What a canister refuses before it takes a message in comes as a trap whose text names the error.
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
