//! The compiled canister on a replica without a network in between: every call, round and second
//! happens when the test says so, so that a run can be repeated exactly.

use crate::tiny_model::Tiny;
use anyhow::{Context, Result, anyhow, ensure};
use candid::utils::{ArgumentEncoder, encode_args};
use candid::{CandidType, Nat, Principal};
use interface::{
    ChatInfo, ChatSendArgs, Chunk, Config, ConfigPatch, Done, Error, Generation, GenerationArgs,
    Manifest, ModelStatus, Models, Options, Outcome, Phase, Range, Started, Status,
};
use replica::management::types::{
    CanisterIdRecord, CanisterSettings, InstallCode, InstallMode, ProvisionalCreate, UpdateSettings,
};
use replica::{Ingress, IngressStatus, QueryResult, Reject, Replica, ReplicaConfig};
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

/// Cycles of a new canister.
const CYCLES: u128 = 1_000_000_000_000_000;
/// Rounds a call may take.
const PATIENCE: usize = 20_000;
/// Time between two rounds (nanoseconds).
const ROUND_NS: u64 = 700_000_000;

/// A replica with one canister.
pub struct Direct {
    /// The replica, driven by hand.
    pub replica: Replica,
    /// The canister under test.
    pub canister: Principal,
    /// Whether messages are shown to `canister_inspect_message` first, as they are by the node that
    /// takes them in; not so in the blocks of other nodes.
    pub inspects: bool,
    sent: u64,
}

/// The `n`-th of many callers; number 0 is the controller.
pub fn caller(n: u64) -> Principal {
    Principal::self_authenticating(n.to_le_bytes())
}

impl Direct {
    /// A canister with these cycles and the code in it, controlled by caller 0.
    pub fn install(wasm: &[u8]) -> Result<Self> {
        let replica = Replica::new(ReplicaConfig {
            start_time_ns: Some(1_700_000_000_000_000_000),
            ..ReplicaConfig::default()
        })?;
        let mut this = Self {
            replica,
            canister: Principal::management_canister(),
            inspects: true,
            sent: 0,
        };
        this.canister = this.create()?;
        this.code(wasm, InstallMode::install)?;
        Ok(this)
    }

    /// The canister of this project with a tiny model ready.
    pub fn with_model(tiny: &Tiny) -> Result<Self> {
        let mut this = Self::install(&crate::wasm()?)?;
        this.upload(&tiny.bytes()?)?;
        Ok(this)
    }

    /// Uploads a model file and waits until it is ready.
    pub fn upload(&mut self, file: &[u8]) -> Result<()> {
        let size = 1_000_000;
        let manifest = Manifest {
            name: "tiny".into(),
            size: file.len() as u64,
            chunk_size: size as u32,
            sha256: ByteBuf::from(Sha256::digest(file).to_vec()),
            checksums: file.chunks(size).map(interface::checksum).collect(),
        };
        let sha256 = manifest.sha256.clone();
        self.update::<_, Done>(caller(0), "upload_begin", (manifest,))??;
        let missing: Vec<Range> = self.query(caller(0), "upload_missing", ())?;
        let missing = |index: u32| missing.iter().any(|m| (m.start..m.end).contains(&index));
        for (index, data) in (0..).zip(file.chunks(size)).filter(|(n, _)| missing(*n)) {
            let data = serde_bytes::Bytes::new(data);
            self.update::<_, Done>(caller(0), "upload_chunk", (Chunk { index, data },))??;
        }
        self.update::<_, Done>(caller(0), "upload_commit", ())??;
        for _ in 0..PATIENCE {
            match self.model(&sha256)? {
                m if matches!(m.phase, Phase::Ready | Phase::Stored) => return Ok(()),
                m if m.phase == Phase::Failed => return Err(anyhow!("{:?}", m.error)),
                _ => self.rounds(1),
            }
        }
        Err(anyhow!("the model does not become ready"))
    }

    /// The library.
    pub fn models(&mut self) -> Result<Models> {
        self.query(caller(0), "models", ())
    }

    /// What the model of a file is doing.
    pub fn model(&mut self, sha256: &[u8]) -> Result<ModelStatus> {
        let found = self
            .models()?
            .models
            .into_iter()
            .find(|m| m.sha256 == sha256);
        Ok(found.context("no such model")?.status)
    }

    /// Rounds until the model is ready.
    pub fn until_ready(&mut self) -> Result<()> {
        for _ in 0..PATIENCE {
            match self.status()?.model {
                m if m.phase == Phase::Ready => return Ok(()),
                m if m.phase == Phase::Failed => return Err(anyhow!("{:?}", m.error)),
                _ => self.rounds(1),
            }
        }
        Err(anyhow!("the model does not become ready"))
    }

    /// Another canister with other code.
    pub fn another(&mut self, wasm: &[u8]) -> Result<Principal> {
        let canister = self.create()?;
        self.code_of(canister, wasm, InstallMode::install)?;
        Ok(canister)
    }

    fn create(&mut self) -> Result<Principal> {
        let create = ProvisionalCreate {
            amount: Some(Nat::from(CYCLES)),
            settings: None,
            specified_id: None,
            sender_canister_version: None,
        };
        let method = "provisional_create_canister_with_cycles";
        let made: CanisterIdRecord = self.manage(method, (create,))?;
        Ok(made.canister_id)
    }

    /// An update of another canister with the argument's bytes as they are.
    pub fn raw_to(
        &mut self,
        to: Principal,
        who: Principal,
        method: &str,
        arg: Vec<u8>,
    ) -> Result<Vec<u8>, Reject> {
        self.send(to, who, method, arg)
    }

    /// Installs or upgrades the code.
    pub fn code(&mut self, wasm: &[u8], mode: InstallMode) -> Result<()> {
        self.code_of(self.canister, wasm, mode)
    }

    fn code_of(&mut self, canister_id: Principal, wasm: &[u8], mode: InstallMode) -> Result<()> {
        let install = InstallCode {
            mode,
            canister_id,
            wasm_module: wasm.to_vec(),
            arg: encode_args(())?,
            sender_canister_version: None,
        };
        self.manage_unit("install_code", (install,))
    }

    /// Upgrades to the same code.
    pub fn upgrade(&mut self) -> Result<()> {
        self.code(&crate::wasm()?, InstallMode::upgrade(None))
    }

    /// Changes the canister's settings.
    pub fn settings(&mut self, settings: CanisterSettings) -> Result<()> {
        let update = UpdateSettings {
            canister_id: self.canister,
            settings,
            sender_canister_version: None,
        };
        self.manage_unit("update_settings", (update,))
    }

    /// Changes the canister's own settings.
    pub fn config(&mut self, patch: ConfigPatch) -> Result<Config> {
        let config: Outcome<Config> = self.update(caller(0), "set_config", (patch,))?;
        Ok(config?)
    }

    /// Sets the instructions of a round.
    pub fn budget(&mut self, round_instructions: u64) -> Result<()> {
        self.config(ConfigPatch {
            round_instructions: Some(round_instructions),
            ..ConfigPatch::default()
        })?;
        Ok(())
    }

    /// From now on a round of consensus is over after one message of this canister.
    pub fn one_message_a_round(&mut self) {
        self.replica.set_round_instructions(1);
    }

    /// Rounds of consensus, 0.7 seconds apart.
    pub fn rounds(&mut self, n: usize) {
        for _ in 0..n {
            self.replica.advance_ns(ROUND_NS);
            self.replica.execute_round();
        }
    }

    fn manage<R: CandidType + DeserializeOwned>(
        &mut self,
        method: &str,
        args: impl ArgumentEncoder,
    ) -> Result<R> {
        let management = Principal::management_canister();
        let reply = self.send(management, caller(0), method, encode_args(args)?);
        Ok(candid::decode_one(&reply.map_err(rejected)?)?)
    }

    fn manage_unit(&mut self, method: &str, args: impl ArgumentEncoder) -> Result<()> {
        let management = Principal::management_canister();
        let reply = self.send(management, caller(0), method, encode_args(args)?);
        reply.map_err(rejected)?;
        Ok(())
    }

    /// Sends an update and does not wait: its id.
    ///
    /// # Errors
    /// The reject if it is not taken at all.
    pub fn submit(
        &mut self,
        to: Principal,
        who: Principal,
        method: &str,
        arg: Vec<u8>,
    ) -> Result<[u8; 32], Reject> {
        self.sent += 1;
        let mut request_id = [0; 32];
        request_id[..8].copy_from_slice(&self.sent.to_le_bytes());
        let message = Ingress {
            sender: who,
            canister_id: to,
            method_name: method.into(),
            wire_bytes: arg.len() + 300,
            arg,
            ingress_expiry_ns: self.replica.time_ns() + 240_000_000_000,
            request_id,
        };
        match self.inspects {
            true => self.replica.submit(message)?,
            false => self.replica.submit_uninspected(message)?,
        }
        Ok(request_id)
    }

    fn send(
        &mut self,
        to: Principal,
        who: Principal,
        method: &str,
        arg: Vec<u8>,
    ) -> Result<Vec<u8>, Reject> {
        let id = self.submit(to, who, method, arg)?;
        for _ in 0..PATIENCE {
            self.rounds(1);
            match self.replica.ingress_status(&id) {
                IngressStatus::Replied(reply) => return Ok(reply),
                IngressStatus::Rejected(reject) => return Err(reject),
                _ => {}
            }
        }
        Err(Reject {
            code: 0,
            message: format!("{method} is not answered"),
            error_code: None,
        })
    }

    /// An update with the argument's bytes as they are.
    pub fn raw(&mut self, who: Principal, method: &str, arg: Vec<u8>) -> Result<Vec<u8>, Reject> {
        self.send(self.canister, who, method, arg)
    }

    /// An update.
    pub fn update<A: ArgumentEncoder, R: CandidType + DeserializeOwned>(
        &mut self,
        who: Principal,
        method: &str,
        args: A,
    ) -> Result<R> {
        let reply = self.raw(who, method, encode_args(args)?);
        let reply = reply
            .map_err(rejected)
            .with_context(|| method.to_string())?;
        candid::decode_one(&reply).with_context(|| method.to_string())
    }

    /// A query with the argument's bytes as they are.
    pub fn raw_query(
        &mut self,
        who: Principal,
        method: &str,
        arg: &[u8],
    ) -> Result<Vec<u8>, Reject> {
        match self.replica.query(who, self.canister, method, arg) {
            QueryResult::Replied(reply) => Ok(reply),
            QueryResult::Rejected(reject) => Err(reject),
        }
    }

    /// A query.
    pub fn query<A: ArgumentEncoder, R: CandidType + DeserializeOwned>(
        &mut self,
        who: Principal,
        method: &str,
        args: A,
    ) -> Result<R> {
        let reply = self.raw_query(who, method, &encode_args(args)?);
        let reply = reply
            .map_err(rejected)
            .with_context(|| method.to_string())?;
        candid::decode_one(&reply).with_context(|| method.to_string())
    }

    /// The canister at a glance.
    pub fn status(&mut self) -> Result<Status> {
        self.query(caller(0), "status", ())
    }

    /// Instructions of all messages so far.
    pub fn instructions(&self) -> u64 {
        let totals = self.replica.totals(&self.canister);
        totals.map_or(0, |t| t.instructions)
    }

    /// Begins a chat.
    pub fn chat(&mut self, who: Principal, system: Option<&str>) -> Result<u64> {
        let create = interface::ChatCreateArgs {
            system: system.map(Into::into),
            ..Default::default()
        };
        let made: Outcome<ChatInfo> = self.update(who, "chat_create", (create,))?;
        Ok(made?.id)
    }

    /// Asks a chat's next question; the canister's refusal is the inner error.
    pub fn ask(
        &mut self,
        who: Principal,
        chat: u64,
        content: &str,
        options: Options,
    ) -> Result<Result<Started, Error>> {
        let question = ChatSendArgs {
            chat,
            content: content.into(),
            options: Some(options),
            ..ChatSendArgs::default()
        };
        self.update(who, "chat_send", (question,))
    }

    /// A generation as it is.
    pub fn look(&mut self, who: Principal, id: u64) -> Result<Generation> {
        let request = GenerationArgs {
            id,
            from_byte: 0,
            from_token: 0,
        };
        let look: Outcome<Generation> = self.query(who, "generation", (request,))?;
        Ok(look?)
    }

    /// Rounds until a generation is over.
    pub fn finish(&mut self, who: Principal, id: u64) -> Result<Generation> {
        for _ in 0..PATIENCE {
            let look = self.look(who, id)?;
            if look.state.is_over() {
                return Ok(look);
            }
            self.rounds(1);
        }
        Err(anyhow!("generation {id} does not end"))
    }

    /// Asks and waits for the answer.
    pub fn answer(
        &mut self,
        who: Principal,
        chat: u64,
        content: &str,
        options: Options,
    ) -> Result<Generation> {
        let started = self.ask(who, chat, content, options)??;
        self.finish(who, started.id)
    }

    /// Rounds until nothing waits or runs.
    pub fn settle(&mut self) -> Result<()> {
        for _ in 0..PATIENCE {
            if self.status()?.generations_running == 0 {
                return Ok(());
            }
            self.rounds(1);
        }
        Err(anyhow!("the canister does not come to rest"))
    }

    /// Deletes every chat of a caller.
    pub fn delete_chats(&mut self, who: Principal) -> Result<()> {
        loop {
            let request = interface::ChatListArgs {
                before: None,
                limit: 100,
            };
            let chats: Vec<ChatInfo> = self.query(who, "chat_list", (request,))?;
            if chats.is_empty() {
                return Ok(());
            }
            for chat in chats {
                let gone: Done = self.update(who, "chat_delete", (chat.id,))?;
                ensure!(gone.is_ok(), "{gone:?}");
            }
        }
    }
}

fn rejected(reject: Reject) -> anyhow::Error {
    anyhow!("rejected: {reject:?}")
}

/// Options of a greedy answer.
pub fn greedy(max_tokens: u32) -> Options {
    Options {
        max_tokens: Some(max_tokens),
        ..Options::default()
    }
}

/// Options of a drawn answer.
pub fn drawn(max_tokens: u32, seed: u64) -> Options {
    Options {
        max_tokens: Some(max_tokens),
        temperature: Some(1.0),
        seed: Some(seed),
        ..Options::default()
    }
}
