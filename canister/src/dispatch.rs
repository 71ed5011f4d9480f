//! Every message passes here: its argument is decoded, the method runs, what it changed is saved, the
//! next slice is scheduled, and the reply is encoded. Nothing else saves or schedules.
//!
//! Bytes that are no argument of the method are rejected with a text, never trapped on, and decoding
//! costs no more than the bytes are worth.

use crate::endpoints::{http, inspect, prompt};
use crate::runtime;
use crate::scheduler;
use crate::state::{State, mutate_state, read_state};
use candid::utils::{ArgumentDecoder, decode_args_with_config};
use candid::{CandidType, DecoderConfig};

/// Decodes an argument.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn decode<'a, A: ArgumentDecoder<'a>>(bytes: &'a [u8]) -> Result<A, String> {
    // Zero-sized elements (`vec null`) would otherwise let a few bytes claim billions of elements.
    let mut config = DecoderConfig::new();
    config
        .set_decoding_quota(20_000 + 16 * bytes.len())
        .set_skipping_quota(20_000 + bytes.len());
    decode_args_with_config(bytes, &config)
        .map_err(|e| format!("the argument is not what llm.did says: {e}"))
}

/// Runs a public method on this message.
pub(crate) fn answer<R: CandidType>(method: impl FnOnce(&[u8]) -> Result<R, String>) {
    runtime::entry_point(|| {
        let bytes = runtime::argument();
        match method(&bytes).map(candid::encode_one) {
            Ok(Ok(reply)) => runtime::reply(&reply),
            Ok(Err(e)) => runtime::reject(&format!("the reply cannot be encoded: {e}")),
            Err(text) => runtime::reject(&text),
        }
    });
}

/// Runs a query on the state.
pub(crate) fn query<T>(method: impl FnOnce(&State) -> T) -> T {
    read_state(method)
}

/// Runs an update on the state; then schedules and saves.
pub(crate) fn update<T>(method: impl FnOnce(&mut State) -> T) -> T {
    mutate_state(|state| {
        let result = method(state);
        scheduler::schedule(state);
        state.control.save();
        result
    })
}

/// A new program begins: after an install or an upgrade.
pub(crate) fn program_start() {
    http::certify();
    mutate_state(|state| {
        scheduler::restart(state);
        state.control.save();
    });
}

/// The IC's timer.
pub(crate) fn timer() {
    runtime::entry_point(|| {
        update(|state| {
            if scheduler::needs_entropy(state) {
                state.entropy_requested = runtime::ask_random(entropy_arrived, 0);
            }
            scheduler::watchdog(state);
        });
    });
}

/// The answer to a request for randomness.
extern "C" fn entropy_arrived(_environment: usize) {
    update(|state| {
        state.entropy_requested = false;
        if let Some(bytes) = runtime::random_bytes() {
            state.control.entropy = Some(bytes);
        }
    });
}

/// A slice that the canister sent to itself. Its argument is the sequence number: eight bytes,
/// little-endian.
pub(crate) fn slice() {
    runtime::entry_point(|| {
        let sequence: Option<[u8; 8]> = runtime::argument().try_into().ok();
        let Some(sequence) = sequence.filter(|_| runtime::caller_is_self()) else {
            return;
        };
        update(|state| scheduler::run(state, u64::from_le_bytes(sequence)));
        mutate_state(|state| {
            scheduler::note_message_size(state);
            state.control.save();
        });
    });
}

/// `prompt`, which replies later.
pub(crate) fn prompt_and_wait() {
    runtime::entry_point(|| match decode::<(String,)>(&runtime::argument()) {
        Ok((text,)) => prompt::reply_when_done(update(|state| prompt::start(state, text))),
        Err(text) => runtime::reject(&text),
    });
}

/// Before a message from outside is taken in.
pub(crate) fn inspect_message() {
    runtime::entry_point(|| read_state(inspect::inspect));
}

/// The public methods: exports each under its kind and name, and describes them all in Candid.
#[macro_export]
macro_rules! methods {
    ($($kind:ident $name:ident($($arg:ident: $type:ty),*) -> $ret:ty = $run:expr;)*) => {
        mod exports {
        #[allow(unused_imports)]
        use super::*;
        $(mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[cfg_attr(
                target_family = "wasm",
                unsafe(export_name = concat!("canister_", stringify!($kind), " ", stringify!($name)))
            )]
            #[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
            extern "C" fn entry() {
                $crate::dispatch::answer(|bytes| -> Result<$ret, String> {
                    let ($($arg,)*): ($($type,)*) = $crate::dispatch::decode(bytes)?;
                    Ok($crate::dispatch::$kind($run))
                });
            }
        })*
        }

        /// The service as the code has it, in Candid.
        #[cfg(test)]
        fn interface() -> String {
            use candid::types::internal::TypeContainer;
            use candid::types::{FuncMode, Function, TypeInner};
            let mut types = TypeContainer::new();
            let mut methods: Vec<(String, candid::types::Type)> = Vec::new();
            $({
                let args = vec![$(types.add::<$type>()),*];
                let rets = vec![types.add::<$ret>()];
                let modes = match stringify!($kind) {
                    "query" => vec![FuncMode::Query],
                    _ => Vec::new(),
                };
                let function = TypeInner::Func(Function { modes, args, rets });
                methods.push((stringify!($name).to_string(), function.into()));
            })*
            methods.sort_by(|a, b| a.0.cmp(&b.0));
            let service = TypeInner::Service(methods).into();
            candid::pretty::candid::compile(
                &types.env,
                &Some(TypeInner::Class(Vec::new(), service).into()),
            )
        }
    };
}
