//! The chat page, served over HTTP and certified.
//!
//! The files are part of the program (`build.rs`), so an upgrade brings its own page. Every response
//! there can be is certified with version 2 of the protocol before the first request comes: status,
//! headers and body, for a file both as it is and compressed, and one response for everything else.

use crate::runtime;
use crate::state::State;
use candid::CandidType;
use ic_http_certification::{
    CERTIFICATE_EXPRESSION_HEADER_NAME, DefaultCelBuilder, DefaultResponseCertification,
    DefaultResponseOnlyCelExpression, HttpCertification, HttpCertificationPath,
    HttpCertificationTree, HttpCertificationTreeEntry, HttpRequest, HttpResponse, StatusCode,
    utils::add_v2_certificate_header,
};
use serde::Deserialize;
use serde_bytes::{ByteBuf, Bytes};
use std::cell::RefCell;

include!(concat!(env!("OUT_DIR"), "/site.rs"));

/// A file of the page.
struct File {
    /// What the address says: `/` and the name.
    path: &'static str,
    content_type: &'static str,
    /// What the page it is part of, or the worker it is, may do.
    policy: &'static str,
    /// Whether its name tells its content, so that it never changes.
    immutable: bool,
    plain: Body,
    gzip: Body,
}

struct Body {
    bytes: &'static [u8],
    sha256: [u8; 32],
}

/// The longest address (bytes) and the deepest (parts) that gets a certified answer.
const MAX_PATH: usize = 2_048;
const MAX_DEPTH: usize = 32;

/// Where Prometheus finds the figures: they change with every round, so they are not certified.
const METRICS: &str = "/metrics";

const NOT_FOUND: &[u8] = b"There is no such page.\n";

/// What the gateway asks; see the HTTP gateway protocol.
#[derive(CandidType, Deserialize)]
pub(crate) struct PageRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: ByteBuf,
    pub certificate_version: Option<u16>,
}

#[derive(CandidType)]
pub(crate) struct PageResponse<'a> {
    pub status_code: u16,
    pub headers: Vec<(String, String)>,
    pub body: Payload<'a>,
}

/// A response's body: of the program, or made for it.
pub(crate) enum Payload<'a> {
    Kept(&'a [u8]),
    Made(Vec<u8>),
}

impl CandidType for Payload<'_> {
    fn _ty() -> candid::types::Type {
        Bytes::ty()
    }

    fn idl_serialize<S: candid::types::Serializer>(&self, serializer: S) -> Result<(), S::Error> {
        serializer.serialize_blob(match self {
            Self::Kept(bytes) => bytes,
            Self::Made(bytes) => bytes,
        })
    }
}

thread_local! {
    static TREE: RefCell<HttpCertificationTree> = RefCell::default();
}

/// One response: what is certified, and what is sent.
struct Prepared {
    path: HttpCertificationPath<'static>,
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: &'static [u8],
    sha256: Option<[u8; 32]>,
}

fn expression() -> DefaultResponseOnlyCelExpression<'static> {
    DefaultCelBuilder::response_only_certification()
        .with_response_certification(DefaultResponseCertification::response_header_exclusions(
            vec![],
        ))
        .build()
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

fn file(file: &'static File, gzip: bool) -> Prepared {
    let body = if gzip { &file.gzip } else { &file.plain };
    let caching = if file.immutable {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let mut headers = vec![
        header("content-type", file.content_type),
        header("cache-control", caching),
        header("vary", "accept-encoding"),
        header("content-security-policy", file.policy),
        header("x-content-type-options", "nosniff"),
        header("referrer-policy", "no-referrer"),
        header("cross-origin-opener-policy", "same-origin-allow-popups"),
        header(
            "permissions-policy",
            "camera=(), geolocation=(), microphone=(), payment=()",
        ),
        header(
            CERTIFICATE_EXPRESSION_HEADER_NAME,
            &expression().to_string(),
        ),
    ];
    if gzip {
        headers.push(header("content-encoding", "gzip"));
    }
    Prepared {
        path: HttpCertificationPath::exact(file.path),
        status: StatusCode::OK,
        headers,
        body: body.bytes,
        sha256: Some(body.sha256),
    }
}

fn not_found() -> Prepared {
    Prepared {
        path: HttpCertificationPath::wildcard(""),
        status: StatusCode::NOT_FOUND,
        headers: vec![
            header("content-type", "text/plain; charset=utf-8"),
            header("cache-control", "no-cache"),
            header("x-content-type-options", "nosniff"),
            header(
                CERTIFICATE_EXPRESSION_HEADER_NAME,
                &expression().to_string(),
            ),
        ],
        body: NOT_FOUND,
        sha256: None,
    }
}

impl Prepared {
    fn response(&self) -> HttpResponse<'static> {
        HttpResponse::builder()
            .with_status_code(self.status)
            .with_headers(self.headers.clone())
            .with_body(self.body)
            .build()
    }

    /// None only if a header that the protocol wants is missing.
    fn entry(&self) -> Option<HttpCertificationTreeEntry<'static>> {
        let certification =
            HttpCertification::response_only(&expression(), &self.response(), self.sha256);
        Some(HttpCertificationTreeEntry::new(
            self.path.clone(),
            certification.ok()?,
        ))
    }
}

fn metrics_entry() -> HttpCertificationTreeEntry<'static> {
    HttpCertificationTreeEntry::new(
        HttpCertificationPath::exact(METRICS),
        HttpCertification::skip(),
    )
}

/// The figures for Prometheus.
fn metrics(state: &State) -> PageResponse<'static> {
    let text = super::metrics::text(state).into_bytes();
    let expression = DefaultCelBuilder::skip_certification().to_string();
    let headers = vec![
        header("content-type", "text/plain; version=0.0.4; charset=utf-8"),
        header("cache-control", "no-store"),
        header(CERTIFICATE_EXPRESSION_HEADER_NAME, &expression),
    ];
    let mut response = HttpResponse::builder()
        .with_status_code(StatusCode::OK)
        .with_headers(headers)
        .build();
    let witness = TREE.with_borrow(|tree| tree.witness(&metrics_entry(), METRICS).ok());
    if let (Some(witness), Some(certificate)) = (witness, runtime::data_certificate()) {
        let path = HttpCertificationPath::exact(METRICS).to_expr_path();
        add_v2_certificate_header(&certificate, &mut response, &witness, &path);
    }
    PageResponse {
        status_code: 200,
        headers: response.headers().to_vec(),
        body: Payload::Made(text),
    }
}

/// Certifies every response. To be called at the start of each program: the tree is in the heap.
pub(crate) fn certify() {
    let root = TREE.with_borrow_mut(|tree| {
        tree.clear();
        let files = FILES.iter().flat_map(|f| [file(f, false), file(f, true)]);
        for entry in files.chain([not_found()]).filter_map(|p| p.entry()) {
            tree.insert(&entry);
        }
        tree.insert(&metrics_entry());
        tree.root_hash()
    });
    runtime::set_certified_data(&root);
}

/// The answer to a request, with its certificate. Never refuses: what is unknown is not found.
pub(crate) fn respond(state: &State, request: &PageRequest) -> PageResponse<'static> {
    let asked = HttpRequest::get(request.url.as_str()).build();
    let path = asked
        .get_path()
        .ok()
        .filter(|path| path.len() <= MAX_PATH && path.split('/').count() <= MAX_DEPTH);
    let Some(path) = path else {
        return PageResponse {
            status_code: 414,
            headers: Vec::new(),
            body: Payload::Kept(b"This is no address of a page.\n"),
        };
    };
    if path == METRICS {
        return metrics(state);
    }
    let prepared = FILES
        .iter()
        .find(|f| f.path == path)
        .map_or_else(not_found, |f| file(f, takes_gzip(request)));
    let mut response = prepared.response();
    // Neither is there in an update, whose answer needs no certificate.
    let witness = prepared
        .entry()
        .and_then(|entry| TREE.with_borrow(|tree| tree.witness(&entry, &path).ok()));
    if let (Some(witness), Some(certificate)) = (witness, runtime::data_certificate()) {
        let expression_path = prepared.path.to_expr_path();
        add_v2_certificate_header(&certificate, &mut response, &witness, &expression_path);
    }
    PageResponse {
        status_code: prepared.status.as_u16(),
        headers: response.headers().to_vec(),
        body: Payload::Kept(prepared.body),
    }
}

/// Whether the client can read gzip.
fn takes_gzip(request: &PageRequest) -> bool {
    let accepted = request
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("accept-encoding"));
    accepted
        .flat_map(|(_, value)| value.split(','))
        .filter_map(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            Some((parts.next()?, parts.next()))
        })
        .any(|(name, weight)| {
            let refused = weight.is_some_and(|w| {
                w.strip_prefix("q=")
                    .and_then(|q| q.parse::<f32>().ok())
                    .is_some_and(|q| q <= 0.0)
            });
            name.eq_ignore_ascii_case("gzip") && !refused
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_only_for_those_who_take_it() {
        let takes = |value: &str| {
            takes_gzip(&PageRequest {
                method: "GET".into(),
                url: "/".into(),
                headers: vec![("Accept-Encoding".into(), value.into())],
                body: ByteBuf::new(),
                certificate_version: Some(2),
            })
        };
        assert!(takes("gzip"));
        assert!(takes("br;q=1.0, GZIP;q=0.5"));
        assert!(!takes("br, deflate"));
        assert!(!takes("gzip;q=0, br"));
        assert!(!takes(""));
    }
}
