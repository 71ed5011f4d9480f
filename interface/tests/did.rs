//! The types of this crate are those of `canister/llm.did`.

use candid::CandidType;
use candid::types::internal::TypeContainer;
use candid::types::{FuncMode, Function, Type, TypeInner};
use candid_parser::utils::{CandidSource, service_equal};
use interface::*;
use std::path::Path;

/// The methods with this crate's types.
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

    fn update_without_argument<R: CandidType>(&mut self, name: &str) {
        self.add::<R>(name, vec![], vec![]);
    }

    fn query_without_argument<R: CandidType>(&mut self, name: &str) {
        self.add::<R>(name, vec![], vec![FuncMode::Query]);
    }

    /// Returns the service as Candid text.
    fn text(mut self) -> String {
        self.methods.sort_by(|left, right| left.0.cmp(&right.0));
        // The service has an empty init argument, as `service : () -> { … }` says.
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
    methods.update::<Chunk<'_>, Done>("upload_chunk");
    methods.query_without_argument::<Vec<Range>>("upload_missing");
    methods.update_without_argument::<Done>("upload_commit");
    methods.update_without_argument::<Done>("upload_abort");
    methods.query_without_argument::<Models>("models");
    methods.update::<AliasSetArgs, Done>("alias_set");
    methods.update::<String, Done>("alias_rollback");
    methods.update::<String, Done>("alias_remove");
    methods.update::<ModelDeleteArgs, Done>("model_delete");
    methods.update::<ConfigPatch, Outcome<Config>>("set_config");
    methods.update::<Vec<AccessChange>, Done>("set_access");
    methods.query_without_argument::<Status>("status");
    methods.query_without_argument::<AccountInfo>("account");
    methods.query_without_argument::<String>("metrics");
    let from = vec![methods.types.add::<u64>()];
    methods.add::<Outcome<Vec<LogEntry>>>("logs", from, vec![FuncMode::Query]);
    methods.update::<GenerateArgs, Outcome<Started>>("generate");
    let request = vec![methods.types.add::<GenerationArgs>()];
    methods.add::<Outcome<Generation>>("generation", request, vec![FuncMode::Query]);
    methods.update::<u64, Done>("cancel");
    methods.update::<String, Outcome<Answer>>("prompt");
    methods.update::<ChatCreateArgs, Outcome<ChatInfo>>("chat_create");
    methods.update::<ChatSendArgs, Outcome<Started>>("chat_send");
    let request = vec![methods.types.add::<ChatHistoryArgs>()];
    methods.add::<Outcome<ChatHistory>>("chat_history", request, vec![FuncMode::Query]);
    let request = vec![methods.types.add::<ChatListArgs>()];
    methods.add::<Vec<ChatInfo>>("chat_list", request, vec![FuncMode::Query]);
    let rename = vec![methods.types.add::<u64>(), methods.types.add::<String>()];
    methods.add::<Done>("chat_rename", rename, vec![]);
    methods.update::<u64, Done>("chat_delete");
    let request = vec![methods.types.add::<HttpRequest>()];
    methods.add::<HttpResponse>("http_request", request, vec![FuncMode::Query]);
    methods.text()
}

#[test]
fn types_are_those_of_the_interface() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../canister/llm.did");
    let ours = service();
    service_equal(CandidSource::File(&file), CandidSource::Text(&ours))
        .unwrap_or_else(|error| panic!("{error}\n{ours}"));
}
