//! The on-chain program. This file only forwards; `llm.did` documents the methods.

mod access;
mod accounts;
mod aliases;
pub mod api;
mod app;
mod blocks;
mod chat_prompt;
mod chat_store;
mod chats;
mod cycles;
mod durable;
mod entry;
mod generation_job;
mod generations;
mod inspect;
mod library;
mod logs;
mod memory;
mod metrics;
mod migration;
mod model_job;
mod models;
mod page_table;
mod pages;
mod prompt;
mod queue;
mod rounds;
mod site;
mod status;
mod system;
mod upload;
mod v1;
mod v2;

use api::*;
use app::with;
use system::caller;

#[ic_cdk::init]
fn init() {
    site::certify();
    with(rounds::restart);
}

#[ic_cdk::post_upgrade]
fn post_upgrade() {
    site::certify();
    with(rounds::restart);
}

/// The IC's timer.
#[cfg_attr(target_family = "wasm", unsafe(export_name = "canister_global_timer"))]
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
extern "C" fn global_timer() {
    ic_cdk::futures::internals::in_executor_context(|| with(rounds::watchdog));
}

/// Before a message from outside is taken at all.
#[cfg_attr(
    target_family = "wasm",
    unsafe(export_name = "canister_inspect_message")
)]
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
extern "C" fn inspect_message() {
    ic_cdk::futures::internals::in_executor_context(|| with(|app| inspect::inspect(app)));
}

/// A round this canister sent to itself: not part of the public interface. Its argument is eight
/// bytes, little-endian.
#[cfg_attr(target_family = "wasm", unsafe(export_name = "canister_update round"))]
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
extern "C" fn round() {
    ic_cdk::futures::internals::in_executor_context(|| {
        let sequence: Option<[u8; 8]> = ic_cdk::api::msg_arg_data().try_into().ok();
        if let Some(sequence) = sequence.filter(|_| system::caller_is_self()) {
            with(|app| rounds::run(app, u64::from_le_bytes(sequence)));
        }
    });
}

/// `prompt` answers later.
#[cfg_attr(target_family = "wasm", unsafe(export_name = "canister_update prompt"))]
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
extern "C" fn prompt_and_wait() {
    ic_cdk::futures::internals::in_executor_context(|| {
        match entry::decode::<(String,)>(&ic_cdk::api::msg_arg_data()) {
            Ok((text,)) => prompt::begin(text),
            Err(text) => ic_cdk::api::msg_reject(text),
        }
    });
}

methods! {
    update upload_begin(manifest: Manifest) -> Result<(), Error> =
        with(|app| upload::begin(app, manifest));
    update upload_chunk(chunk: Chunk<'_>) -> Result<(), Error> =
        with(|app| upload::chunk(app, &chunk));
    query upload_missing() -> Vec<Range> = with(|app| upload::missing(app));
    update upload_commit() -> Result<(), Error> = with(upload::commit);
    update upload_abort() -> Result<(), Error> = with(upload::abort);

    query models() -> Models = with(|app| crate::models::list(app));
    update alias_set(args: AliasSet) -> Result<(), Error> = with(|app| aliases::set(app, &args));
    update alias_rollback(alias: String) -> Result<(), Error> =
        with(|app| aliases::roll_back(app, &alias));
    update alias_remove(alias: String) -> Result<(), Error> =
        with(|app| aliases::remove(app, &alias));
    update model_delete(args: ModelDelete) -> Result<(), Error> =
        with(|app| crate::models::delete(app, &args));

    update set_config(patch: ConfigPatch) -> Result<Config, Error> =
        with(|app| crate::status::set_config(app, patch));
    update set_access(changes: Vec<AccessChange>) -> Result<(), Error> =
        with(|app| access::set(app, &changes));
    query account() -> AccountInfo = with(|app| access::info(app, caller()));
    query status() -> Status = with(|app| crate::status::status(app));
    query logs(from: u64) -> Result<Vec<LogEntry>, Error> = with(|app| crate::logs::read(app, from));
    query metrics() -> String = with(|app| crate::metrics::text(app));

    update generate(args: GenerateArgs) -> Result<Started, Error> =
        with(|app| generations::start(app, caller(), args));
    query generation(args: ViewArgs) -> Result<Generation, Error> =
        with(|app| generations::view(app, &args));
    update cancel(id: u64) -> Result<(), Error> = with(|app| generations::cancel(app, id));

    update chat_create(args: ChatCreateArgs) -> Result<ChatInfo, Error> =
        with(|app| chats::create(app, caller(), args));
    update chat_send(args: ChatSendArgs) -> Result<Started, Error> =
        with(|app| chats::send(app, caller(), args));
    query chat_history(args: ChatHistoryArgs) -> Result<ChatHistory, Error> =
        with(|app| chats::history(app, caller(), &args));
    query chat_list(args: ChatListArgs) -> Vec<ChatInfo> =
        with(|app| chats::list(app, caller(), &args));
    update chat_rename(chat: u64, title: String) -> Result<(), Error> =
        with(|app| chats::rename(app, caller(), chat, title));
    update chat_delete(chat: u64) -> Result<(), Error> =
        with(|app| chats::delete(app, caller(), chat));

    query http_request(request: site::PageRequest) -> site::PageResponse<'static> =
        site::respond(&request);
}

#[cfg(test)]
mod tests {
    use candid_parser::utils::{CandidSource, service_equal};

    #[test]
    fn llm_did_is_the_interface_of_the_code() {
        let ours = super::interface();
        let checked_in = include_str!("../llm.did");
        // `prompt` answers later, so it is exported by hand.
        let prompt = "  prompt : (text) -> (variant { Ok : Answer; Err : Error });\n";
        let rest = checked_in.replace(prompt, "");
        assert_ne!(rest, checked_in);
        if let Err(e) = service_equal(CandidSource::Text(&ours), CandidSource::Text(&rest)) {
            panic!("{e}\n{ours}");
        }
    }
}
