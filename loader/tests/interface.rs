//! The client's types against the checked-in interface.

use candid::CandidType;
use candid::types::internal::TypeContainer;
use candid::types::{FuncMode, Function, Type, TypeInner};
use candid_parser::utils::{CandidSource, service_equal};
use loader::types::*;
use serde_bytes::ByteBuf;
use std::path::Path;

/// What gateways send and get. The client has no use for it: it is here so that the whole interface
/// can be compared.
#[derive(CandidType)]
#[allow(dead_code)]
struct PageRequest {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: ByteBuf,
    certificate_version: Option<u16>,
}

#[derive(CandidType)]
#[allow(dead_code)]
struct PageResponse {
    status_code: u16,
    headers: Vec<(String, String)>,
    body: ByteBuf,
}

/// Methods as this crate's types describe them.
struct Methods {
    types: TypeContainer,
    methods: Vec<(String, Type)>,
}

impl Methods {
    fn add<R: CandidType>(&mut self, name: &str, args: Vec<Type>, modes: Vec<FuncMode>) {
        let rets = vec![self.types.add::<R>()];
        let function = TypeInner::Func(Function { modes, args, rets });
        self.methods.push((name.to_string(), function.into()));
    }

    fn update<A: CandidType, R: CandidType>(&mut self, name: &str) {
        let args = vec![self.types.add::<A>()];
        self.add::<R>(name, args, vec![]);
    }

    fn command<R: CandidType>(&mut self, name: &str) {
        self.add::<R>(name, vec![], vec![]);
    }

    fn look<R: CandidType>(&mut self, name: &str) {
        self.add::<R>(name, vec![], vec![FuncMode::Query]);
    }

    /// The whole service as Candid text.
    fn text(mut self) -> String {
        self.methods.sort_by(|left, right| left.0.cmp(&right.0));
        // A canister's interface is that of what its (here empty) init argument makes.
        let service = TypeInner::Service(self.methods).into();
        let service = TypeInner::Class(Vec::new(), service).into();
        candid::pretty::candid::compile(&self.types.env, &Some(service))
    }
}

fn service() -> String {
    let mut methods = Methods {
        types: TypeContainer::new(),
        methods: Vec::new(),
    };
    methods.update::<Manifest, Done>("upload_begin");
    methods.update::<Chunk, Done>("upload_chunk");
    methods.look::<Vec<Range>>("upload_missing");
    methods.command::<Done>("upload_commit");
    methods.command::<Done>("upload_abort");
    methods.look::<Models>("models");
    methods.update::<AliasSet, Done>("alias_set");
    methods.update::<String, Done>("alias_rollback");
    methods.update::<String, Done>("alias_remove");
    methods.update::<ModelDelete, Done>("model_delete");
    methods.update::<ConfigPatch, Outcome<Config>>("set_config");
    methods.update::<Vec<AccessChange>, Done>("set_access");
    methods.look::<Status>("status");
    methods.look::<AccountInfo>("account");
    methods.look::<String>("metrics");
    let from = vec![methods.types.add::<u64>()];
    methods.add::<Outcome<Vec<LogEntry>>>("logs", from, vec![FuncMode::Query]);
    methods.update::<GenerateRequest, Outcome<Started>>("generate");
    let request = vec![methods.types.add::<GenerationRequest>()];
    methods.add::<Outcome<Generation>>("generation", request, vec![FuncMode::Query]);
    methods.update::<u64, Done>("cancel");
    methods.update::<String, Outcome<Answer>>("prompt");
    methods.update::<ChatCreate, Outcome<ChatInfo>>("chat_create");
    methods.update::<ChatSend, Outcome<Started>>("chat_send");
    let request = vec![methods.types.add::<ChatHistoryRequest>()];
    methods.add::<Outcome<ChatHistory>>("chat_history", request, vec![FuncMode::Query]);
    let request = vec![methods.types.add::<ChatListRequest>()];
    methods.add::<Vec<ChatInfo>>("chat_list", request, vec![FuncMode::Query]);
    let rename = vec![methods.types.add::<u64>(), methods.types.add::<String>()];
    methods.add::<Done>("chat_rename", rename, vec![]);
    methods.update::<u64, Done>("chat_delete");
    let request = vec![methods.types.add::<PageRequest>()];
    methods.add::<PageResponse>("http_request", request, vec![FuncMode::Query]);
    methods.text()
}

#[test]
fn types_are_those_of_the_interface() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../canister/llm.did");
    let ours = service();
    service_equal(CandidSource::File(&file), CandidSource::Text(&ours))
        .unwrap_or_else(|error| panic!("{error}\n{ours}"));
}
