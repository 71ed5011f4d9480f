//! The on-chain program: the table of its methods. `llm.did` documents them.
//!
//! Dependencies point downward only: `lib` → `dispatch` → `endpoints` | `scheduler` → `generations`
//! → `state` → `kv_cache` → `stable` → `runtime`.

mod dispatch;
mod endpoints;
mod generations;
mod kv_cache;
mod runtime;
mod scheduler;
mod stable;
mod state;

use interface::{
    AccessChange, AccountInfo, AliasSetArgs, ChatCreateArgs, ChatHistory, ChatHistoryArgs,
    ChatInfo, ChatListArgs, ChatSendArgs, Chunk, Config, ConfigPatch, Done, GenerateArgs,
    Generation, GenerationArgs, LogEntry, Manifest, ModelDeleteArgs, Models, Outcome, Range,
    Started, Status,
};
use runtime::caller;

methods! {
    update upload_begin(manifest: Manifest) -> Done = |s| endpoints::upload::begin(s, manifest);
    update upload_chunk(chunk: Chunk<'_>) -> Done = |s| endpoints::upload::chunk(s, &chunk);
    query upload_missing() -> Vec<Range> = endpoints::upload::missing;
    update upload_commit() -> Done = endpoints::upload::commit;
    update upload_abort() -> Done = endpoints::upload::abort;

    query models() -> Models = endpoints::models::list;
    update alias_set(args: AliasSetArgs) -> Done = |s| endpoints::aliases::set(s, &args);
    update alias_rollback(alias: String) -> Done = |s| endpoints::aliases::roll_back(s, &alias);
    update alias_remove(alias: String) -> Done = |s| endpoints::aliases::remove(s, &alias);
    update model_delete(args: ModelDeleteArgs) -> Done = |s| endpoints::models::delete(s, &args);

    update set_config(patch: ConfigPatch) -> Outcome<Config> = |s| endpoints::status::set_config(s, patch);
    update set_access(changes: Vec<AccessChange>) -> Done = |s| endpoints::access::set(s, &changes);
    query account() -> AccountInfo = endpoints::access::account;
    query status() -> Status = endpoints::status::status;
    query logs(from: u64) -> Outcome<Vec<LogEntry>> = |s| endpoints::log::read(s, from);
    query metrics() -> String = endpoints::metrics::text;

    update generate(args: GenerateArgs) -> Outcome<Started> =
        |s| endpoints::generations::generate(s, caller(), args);
    query generation(args: GenerationArgs) -> Outcome<Generation> =
        |s| endpoints::generations::view(s, &args);
    update cancel(id: u64) -> Done = |s| endpoints::generations::cancel(s, id);

    update chat_create(args: ChatCreateArgs) -> Outcome<ChatInfo> =
        |s| endpoints::chats::create(s, caller(), args);
    update chat_send(args: ChatSendArgs) -> Outcome<Started> = |s| endpoints::chats::send(s, caller(), args);
    query chat_history(args: ChatHistoryArgs) -> Outcome<ChatHistory> =
        |s| endpoints::chats::history(s, &caller(), &args);
    query chat_list(args: ChatListArgs) -> Vec<ChatInfo> = |s| endpoints::chats::list(s, &caller(), &args);
    update chat_rename(chat: u64, title: String) -> Done =
        |s| endpoints::chats::rename(s, &caller(), chat, title);
    update chat_delete(chat: u64) -> Done = |s| endpoints::chats::delete(s, &caller(), chat);

    query http_request(request: endpoints::http::PageRequest) -> endpoints::http::PageResponse<'static> =
        |s| endpoints::http::respond(s, &request);
}

#[ic_cdk::init]
fn init() {
    dispatch::program_start();
}

#[ic_cdk::post_upgrade]
fn post_upgrade() {
    dispatch::program_start();
}

/// Exports entry points that are no public methods.
macro_rules! entry_points {
    ($($name:ident $export:literal = $run:path;)*) => {
        $(
            #[cfg_attr(target_family = "wasm", unsafe(export_name = $export))]
            #[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
            extern "C" fn $name() {
                $run();
            }
        )*
    };
}

entry_points! {
    global_timer "canister_global_timer" = dispatch::timer;
    inspect_message "canister_inspect_message" = dispatch::inspect_message;
    // Not part of the public interface: only the canister itself may call it.
    slice "canister_update round" = dispatch::slice;
    // It replies later, so it is exported by hand.
    prompt "canister_update prompt" = dispatch::prompt_and_wait;
}

#[cfg(test)]
mod tests {
    use candid_parser::utils::{CandidSource, service_equal};

    #[test]
    fn llm_did_is_the_interface_of_the_code() {
        let ours = super::interface();
        let checked_in = include_str!("../llm.did");
        // `prompt` replies later, so it is exported by hand.
        let prompt = "  prompt : (text) -> (variant { Ok : Answer; Err : Error });\n";
        let rest = checked_in.replace(prompt, "");
        assert_ne!(rest, checked_in);
        if let Err(e) = service_equal(CandidSource::Text(&ours), CandidSource::Text(&rest)) {
            panic!("{e}\n{ours}");
        }
    }
}
