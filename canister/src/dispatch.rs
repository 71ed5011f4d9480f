//! The way in: decodes a method's argument, calls it, encodes what it gives. Bytes that are no
//! argument of the method are rejected with a text, never trapped on, and decoding costs no more than
//! the bytes are worth.

use candid::utils::{ArgumentDecoder, decode_args_with_config};
use candid::{CandidType, DecoderConfig};

/// Decodes an argument.
///
/// # Errors
/// What is wrong with it, for people.
pub fn decode<'a, A: ArgumentDecoder<'a>>(bytes: &'a [u8]) -> Result<A, String> {
    // A `vec` of things without bytes could else be as long as its length says.
    let mut config = DecoderConfig::new();
    config
        .set_decoding_quota(20_000 + 16 * bytes.len())
        .set_skipping_quota(20_000 + bytes.len());
    decode_args_with_config(bytes, &config)
        .map_err(|e| format!("the argument is not what llm.did says: {e}"))
}

/// Runs a method on this message.
pub fn answer<R: CandidType>(method: impl FnOnce(&[u8]) -> Result<R, String>) {
    ic_cdk::futures::internals::in_executor_context(|| {
        let bytes = crate::system::argument();
        match method(&bytes).map(candid::encode_one) {
            Ok(Ok(reply)) => ic_cdk::api::msg_reply(reply),
            Ok(Err(e)) => ic_cdk::api::msg_reject(format!("the reply cannot be encoded: {e}")),
            Err(text) => ic_cdk::api::msg_reject(text),
        }
    });
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
                $crate::entry::answer(|bytes| -> Result<$ret, String> {
                    let ($($arg,)*): ($($type,)*) = $crate::entry::decode(bytes)?;
                    Ok($run)
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
