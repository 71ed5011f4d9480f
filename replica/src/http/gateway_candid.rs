//! The Candid types of pages: requests, responses and streamed bodies.
//!
//! Responses are read as untyped values, because the token of a streamed body has whatever type
//! its canister likes, and is handed back to it as it is.

use candid::types::Label;
use candid::types::value::{IDLArgs, IDLField, IDLValue};
use candid::{CandidType, DecoderConfig, Encode, Principal};

/// Argument of `http_request` and `http_request_update`.
#[derive(CandidType, Clone, Debug)]
pub(super) struct CanisterRequest {
    /// HTTP method, in capitals.
    pub method: String,
    /// Path and query.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: serde_bytes::ByteBuf,
    /// The version of response certification that is asked for.
    pub certificate_version: Option<u16>,
}

/// What a canister answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CanisterResponse {
    /// HTTP status code.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body, or its first piece.
    pub body: Vec<u8>,
    /// Whether the request is to be repeated as an update.
    pub upgrade: bool,
    /// Where the rest of the body comes from.
    pub streaming: Option<Streaming>,
}

/// A query that answers the next piece of a body.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Streaming {
    /// The canister to ask.
    pub canister: Principal,
    /// Its method.
    pub method: String,
    token: IDLValue,
}

/// A piece of a body.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StreamingChunk {
    /// The bytes.
    pub body: Vec<u8>,
    /// What the next piece is asked with; none after the last.
    pub token: Option<IDLValue>,
}

impl CanisterRequest {
    /// The argument in Candid.
    ///
    /// # Errors
    /// A text for people.
    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        Encode!(self).map_err(|error| error.to_string())
    }
}

impl CanisterResponse {
    /// Reads a reply.
    ///
    /// # Errors
    /// A text for people, when the reply is not an HTTP response.
    pub(super) fn decode(reply: &[u8]) -> Result<CanisterResponse, String> {
        let Some(IDLValue::Record(fields)) = first(reply)? else {
            return Err(malformed("a record"));
        };
        let Some(IDLValue::Nat16(status)) = field(&fields, "status_code") else {
            return Err(malformed("status_code : nat16"));
        };
        let headers = match field(&fields, "headers") {
            Some(IDLValue::Vec(pairs)) => pairs.iter().map(pair).collect::<Option<_>>(),
            _ => None,
        };
        let streaming = match field(&fields, "streaming_strategy").and_then(some) {
            Some(strategy) => Some(Streaming::of(strategy)?),
            None => None,
        };
        Ok(CanisterResponse {
            status: *status,
            headers: headers.ok_or_else(|| malformed("headers : vec record { text; text }"))?,
            body: blob(&fields)?,
            upgrade: field(&fields, "upgrade").and_then(some) == Some(&IDLValue::Bool(true)),
            streaming,
        })
    }
}

impl Streaming {
    fn of(strategy: &IDLValue) -> Result<Streaming, String> {
        if let IDLValue::Variant(variant) = strategy
            && is(&variant.0.id, "Callback")
            && let IDLValue::Record(fields) = &variant.0.val
            && let Some(IDLValue::Func(canister, method)) = field(fields, "callback")
            && let Some(token) = field(fields, "token")
        {
            return Ok(Streaming {
                canister: *canister,
                method: method.clone(),
                token: token.clone(),
            });
        }
        Err(malformed("streaming_strategy : opt variant { Callback }"))
    }

    /// Argument of the query.
    ///
    /// # Errors
    /// A text for people.
    pub(super) fn argument(&self) -> Result<Vec<u8>, String> {
        IDLArgs::new(std::slice::from_ref(&self.token))
            .to_bytes()
            .map_err(|error| error.to_string())
    }

    /// The same query for another piece.
    pub(super) fn with(&self, token: IDLValue) -> Streaming {
        Streaming {
            token,
            ..self.clone()
        }
    }
}

impl StreamingChunk {
    /// Reads a reply; none when there is nothing more.
    ///
    /// # Errors
    /// A text for people, when the reply is not a piece of a body.
    pub(super) fn decode(reply: &[u8]) -> Result<Option<StreamingChunk>, String> {
        let fields = match first(reply)? {
            Some(IDLValue::Opt(value)) => match *value {
                IDLValue::Record(fields) => fields,
                _ => return Err(malformed("an optional record")),
            },
            Some(IDLValue::Record(fields)) => fields,
            Some(IDLValue::None | IDLValue::Null) => return Ok(None),
            _ => return Err(malformed("an optional record")),
        };
        Ok(Some(StreamingChunk {
            body: blob(&fields)?,
            token: field(&fields, "token").and_then(some).cloned(),
        }))
    }
}

fn first(reply: &[u8]) -> Result<Option<IDLValue>, String> {
    // Few bytes can say that billions of values follow: what is decoded is bounded by the size.
    let mut bounded = DecoderConfig::new();
    bounded.set_skipping_quota(4 * reply.len() + 100_000);
    // The library's errors repeat the whole input.
    let args = IDLArgs::from_bytes_with_config(reply, &bounded)
        .map_err(|_| "The canister's answer is not Candid, or too complex.")?;
    Ok(args.args.into_iter().next())
}

fn is(label: &Label, name: &str) -> bool {
    *label == Label::Named(name.to_owned())
}

fn field<'a>(fields: &'a [IDLField], name: &str) -> Option<&'a IDLValue> {
    let found = fields.iter().find(|field| is(&field.id, name))?;
    Some(&found.val)
}

fn some(value: &IDLValue) -> Option<&IDLValue> {
    match value {
        IDLValue::Opt(value) => Some(value),
        _ => None,
    }
}

fn pair(value: &IDLValue) -> Option<(String, String)> {
    let IDLValue::Record(fields) = value else {
        return None;
    };
    match fields.as_slice() {
        [
            IDLField {
                val: IDLValue::Text(name),
                ..
            },
            IDLField {
                val: IDLValue::Text(value),
                ..
            },
        ] => Some((name.clone(), value.clone())),
        _ => None,
    }
}

fn blob(fields: &[IDLField]) -> Result<Vec<u8>, String> {
    match field(fields, "body") {
        Some(IDLValue::Blob(bytes)) => Ok(bytes.clone()),
        _ => Err(malformed("body : blob")),
    }
}

fn malformed(expected: &str) -> String {
    format!("The canister's answer is not an HTTP response: expected {expected}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use candid::{Decode, define_function};
    use serde::Deserialize;

    #[derive(CandidType, Deserialize, Clone, Debug, PartialEq)]
    struct Token {
        key: String,
        index: u32,
        hash: Option<Vec<u8>>,
    }
    define_function!(Callback : (Token) -> () query);
    #[derive(CandidType)]
    enum Strategy {
        Callback { callback: Callback, token: Token },
    }
    #[derive(CandidType)]
    struct Response {
        status_code: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        upgrade: Option<bool>,
        streaming_strategy: Option<Strategy>,
    }
    #[derive(CandidType)]
    struct Chunk {
        body: Vec<u8>,
        token: Option<Token>,
    }

    fn token(index: u32) -> Token {
        Token {
            key: "/a".into(),
            index,
            hash: Some(vec![1, 2]),
        }
    }

    #[test]
    fn responses_and_tokens_of_any_type() {
        let canister = Principal::from_slice(&[1, 2, 3]);
        let reply = Encode!(&Response {
            status_code: 206,
            headers: vec![("A".into(), "b".into())],
            body: vec![7; 3],
            upgrade: None,
            streaming_strategy: Some(Strategy::Callback {
                callback: Callback::new(canister, "more".into()),
                token: token(1),
            }),
        })
        .expect("Candid");
        let response = CanisterResponse::decode(&reply).expect("a response");
        assert_eq!(response.status, 206);
        assert_eq!(response.headers, [("A".to_string(), "b".to_string())]);
        assert_eq!(response.body, [7; 3]);
        assert!(!response.upgrade);
        let streaming = response.streaming.expect("a strategy");
        assert_eq!((streaming.canister, &*streaming.method), (canister, "more"));
        let argument = streaming.argument().expect("an argument");
        assert_eq!(Decode!(&argument, Token).ok(), Some(token(1)));

        let reply = Encode!(&Some(Chunk {
            body: vec![8],
            token: Some(token(2)),
        }))
        .expect("Candid");
        let chunk = StreamingChunk::decode(&reply)
            .expect("a chunk")
            .expect("one");
        assert_eq!(chunk.body, [8]);
        let argument = streaming.with(chunk.token.expect("a token")).argument();
        assert_eq!(
            Decode!(&argument.expect("an argument"), Token).ok(),
            Some(token(2))
        );
        let none = Encode!(&Option::<Chunk>::None).expect("Candid");
        assert_eq!(StreamingChunk::decode(&none), Ok(None));
    }

    #[test]
    fn large_bodies_are_read() {
        let mut large = Response {
            status_code: 200,
            headers: vec![("Content-Type".into(), "text/plain".into()); 200],
            body: vec![7; 3_000_000],
            upgrade: None,
            streaming_strategy: None,
        };
        let reply = Encode!(&large).expect("Candid");
        let response = CanisterResponse::decode(&reply).expect("a response");
        assert_eq!(response.body.len(), 3_000_000);
        large.body.clear();
        let reply = Encode!(&large).expect("Candid");
        let response = CanisterResponse::decode(&reply).expect("a response");
        assert_eq!(response.headers.len(), 200);
    }

    #[test]
    fn other_replies_are_refused() {
        for reply in [
            Encode!().expect("Candid"),
            Encode!(&1u8).expect("Candid"),
            Encode!(&(1u8,)).expect("Candid"),
            b"nonsense".to_vec(),
            vec![],
            // Four billion nulls in a dozen bytes.
            b"DIDL\x01\x6d\x7f\x01\x00\xff\xff\xff\xff\x0f".to_vec(),
        ] {
            assert!(CanisterResponse::decode(&reply).is_err());
        }
    }
}
