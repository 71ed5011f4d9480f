//! The on-chain program. This file only forwards; `llm.did` documents the methods.

pub mod api;
mod app;
mod blocks;
mod chat_prompt;
mod chat_store;
mod chats;
mod durable;
mod generation_job;
mod generations;
mod memory;
mod model_job;
mod pages;
mod prompt;
mod rounds;
pub mod site;
mod status;
mod system;
mod upload;

use api::*;
use ic_cdk::{init, post_upgrade, query, update};

#[init]
fn init() {
    site::certify();
    app::with(rounds::restart);
}

#[post_upgrade]
fn post_upgrade() {
    site::certify();
    app::with(rounds::restart);
}

/// The IC's timer.
#[unsafe(export_name = "canister_global_timer")]
extern "C" fn global_timer() {
    app::with(rounds::watchdog);
}

/// A round this canister sent to itself: not part of the public interface.
#[update(hidden = true, decode_with = "sequence")]
fn round(sequence: Option<u64>) {
    if let Some(sequence) = sequence.filter(|_| system::caller_is_self()) {
        app::with(|app| rounds::run(app, sequence));
    }
}

/// The argument of [`round`]: eight bytes, little-endian.
fn sequence(bytes: Vec<u8>) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

#[update]
fn upload_begin(manifest: Manifest) -> Result<(), Error> {
    app::with(|app| upload::begin(app, manifest))
}

/// Decoded by hand: the argument is neither cleared before it is read nor copied once more. The
/// interface of [`upload_chunk_interface`] stands for it.
#[unsafe(export_name = "canister_update upload_chunk")]
extern "C" fn upload_chunk() {
    let message = system::argument();
    let result = match candid::decode_args::<(Chunk<'_>,)>(&message) {
        Ok((chunk,)) => app::with(|app| upload::chunk(app, &chunk)),
        Err(e) => Err(Error::InvalidArgument(format!(
            "the argument is no chunk: {e}"
        ))),
    };
    // Encoding a result of ours has no way to fail.
    ic_cdk::api::msg_reply(candid::encode_one(result).unwrap_or_default());
}

#[allow(dead_code)]
#[candid::candid_method(update, rename = "upload_chunk")]
fn upload_chunk_interface(_: Chunk<'static>) -> Result<(), Error> {
    Ok(())
}

#[query]
fn upload_missing() -> Vec<Range> {
    app::with(|app| upload::missing(app))
}

#[update]
fn upload_commit() -> Result<(), Error> {
    app::with(upload::commit)
}

#[update]
fn upload_abort() -> Result<(), Error> {
    app::with(upload::abort)
}

#[update]
fn set_config(patch: ConfigPatch) -> Result<Config, Error> {
    app::with(|app| status::set_config(app, &patch))
}

#[query(name = "status")]
fn get_status() -> Status {
    app::with(|app| status::status(app))
}

#[update]
fn generate(args: GenerateArgs) -> Result<Started, Error> {
    let caller = system::caller();
    app::with(|app| generations::start(app, caller, args))
}

#[query]
fn generation(args: ViewArgs) -> Result<Generation, Error> {
    app::with(|app| generations::view(app, &args))
}

#[update]
fn cancel(id: u64) -> Result<(), Error> {
    app::with(|app| generations::cancel(app, id))
}

#[update(manual_reply = true, name = "prompt")]
fn prompt_and_wait(text: String) -> std::marker::PhantomData<Result<Answer, Error>> {
    prompt::begin(text);
    std::marker::PhantomData
}

#[update]
fn chat_create(args: ChatCreateArgs) -> Result<ChatInfo, Error> {
    let caller = system::caller();
    app::with(|app| chats::create(app, caller, args))
}

#[update]
fn chat_send(args: ChatSendArgs) -> Result<Started, Error> {
    let caller = system::caller();
    app::with(|app| chats::send(app, caller, args))
}

#[query]
fn chat_history(args: ChatHistoryArgs) -> Result<ChatHistory, Error> {
    let caller = system::caller();
    app::with(|app| chats::history(app, caller, &args))
}

#[query]
fn chat_list(args: ChatListArgs) -> Vec<ChatInfo> {
    let caller = system::caller();
    app::with(|app| chats::list(app, caller, &args))
}

#[update]
fn chat_rename(chat: u64, title: String) -> Result<(), Error> {
    let caller = system::caller();
    app::with(|app| chats::rename(app, caller, chat, title))
}

#[update]
fn chat_delete(chat: u64) -> Result<(), Error> {
    let caller = system::caller();
    app::with(|app| chats::delete(app, caller, chat))
}

#[query]
fn http_request(request: site::PageRequest) -> site::PageResponse<'static> {
    site::respond(&request)
}

ic_cdk::export_candid!();

#[cfg(test)]
mod tests {
    use candid_parser::utils::{CandidSource, service_equal};

    #[test]
    fn llm_did_is_the_interface_of_the_code() {
        let exported = super::__export_service();
        let checked_in = include_str!("../llm.did");
        service_equal(
            CandidSource::Text(&exported),
            CandidSource::Text(checked_in),
        )
        .unwrap();
    }
}
