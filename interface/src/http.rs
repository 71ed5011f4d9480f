//! The chat page over HTTP, as gateways ask for it (the HTTP Gateway Protocol).

use candid::CandidType;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Argument of `http_request`.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// HTTP method, such as `GET`.
    pub method: String,
    /// Path and query, such as `/metrics`.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The request's body.
    pub body: ByteBuf,
    /// The newest version of response certification that the gateway knows.
    pub certificate_version: Option<u16>,
}

/// Reply of `http_request`, in owned form.
#[derive(CandidType, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// HTTP status, such as 200.
    pub status_code: u16,
    /// Names and values, the certificate among them.
    pub headers: Vec<(String, String)>,
    /// The response's body.
    pub body: ByteBuf,
}
