//! Answers of the HTTP interface.

use super::certified::cbor;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// A whole answer.
pub type Answer = Response<Full<Bytes>>;

/// An answer of any content.
pub fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer for people.
pub fn text(status: StatusCode, message: impl Into<String>) -> Answer {
    answer(status, "text/plain; charset=utf-8", message.into())
}

/// An answer for programs, in self-described CBOR.
pub fn cbor_answer(value: &impl Serialize) -> Answer {
    answer(StatusCode::OK, "application/cbor", cbor(value))
}

/// Lets pages of any origin read the answer.
pub fn allow_browsers(answer: &mut Answer) {
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, HEAD, POST, OPTIONS",
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Accept, Authorization, Content-Type, Range, X-Requested-With, X-Ic-Canister-Id",
        ),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
