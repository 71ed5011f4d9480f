//! The gateway: pages that canisters serve, at `http://<canister id>.localhost:<port>/`.

use super::gateway_candid::{CanisterRequest, CanisterResponse, StreamingChunk};
use super::keys::Keys;
use super::response::{Answer, answer, text};
use super::state_thread::{Handle, wall_ns};
use crate::{Ingress, IngressStatus, Principal, QueryResult, Reject};
use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use ic_http_certification::{HttpRequest, HttpResponse};
use ic_response_verification::verify_request_response_pair;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Pages may be certified with version 1 or 2 of the protocol; 2 is asked for.
const CERTIFICATE_VERSION: u16 = 2;
const MIN_CERTIFICATE_VERSION: u8 = 1;
/// How old a page's certificate may be, in nanoseconds.
const MAX_CERTIFICATE_AGE_NS: u128 = 300_000_000_000;
/// How long an update may take.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(120);
const UPDATE_TTL_NS: u64 = 240_000_000_000;
/// The largest streamed body, in bytes.
const MAX_STREAMED_BYTES: usize = 64 * 1024 * 1024;

/// Which canister's page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The canister.
    pub canister: Principal,
    /// Whether answers without a certificate are accepted (`<id>.raw.localhost`).
    pub raw: bool,
}

/// The parts of a request to a page.
pub struct PageRequest {
    /// HTTP method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Asks canisters for their pages and checks their certificates.
#[derive(Clone)]
pub struct Gateway {
    machine: Handle,
    keys: Arc<Keys>,
    updates: Arc<AtomicU64>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum PageError {
    #[error("{0}")]
    Canister(String),
    #[error("The response of the canister is not certified: {0}")]
    Uncertified(String),
    #[error("The replica has stopped or failed.")]
    Replica,
    #[error("The canister took too long.")]
    Timeout,
}

impl From<Reject> for PageError {
    fn from(reject: Reject) -> PageError {
        let code = reject.error_code.unwrap_or_default();
        PageError::Canister(format!(
            "The canister rejected the request: {} {code}",
            reject.message
        ))
    }
}

impl Site {
    /// The site that a request is for: by its host name `<id>.localhost` or
    /// `<id>.raw.localhost`, by `canisterId=<id>` in its query, or in that of the page which it
    /// is part of.
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Option<Site> {
        let host = uri
            .host()
            .or_else(|| headers.get(header::HOST)?.to_str().ok())
            .unwrap_or_default();
        Site::of_host(host)
            .or_else(|| Site::of_query(uri.query()?))
            .or_else(|| {
                let referer: Uri = headers.get(header::REFERER)?.to_str().ok()?.parse().ok()?;
                Site::of_query(referer.query()?)
            })
    }

    fn of_host(host: &str) -> Option<Site> {
        let name = host.split(':').next()?.to_ascii_lowercase();
        let mut labels = name.strip_suffix(".localhost")?.split('.');
        let canister = Principal::from_text(labels.next()?).ok()?;
        match (labels.next(), labels.next()) {
            (None, _) => Some(Site {
                canister,
                raw: false,
            }),
            (Some("raw"), None) => Some(Site {
                canister,
                raw: true,
            }),
            _ => None,
        }
    }

    fn of_query(query: &str) -> Option<Site> {
        let id = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("canisterId="))?;
        Some(Site {
            canister: Principal::from_text(id).ok()?,
            raw: false,
        })
    }
}

impl Gateway {
    /// A gateway to the canisters of `machine`.
    pub fn new(machine: Handle, keys: Arc<Keys>) -> Gateway {
        Gateway {
            machine,
            keys,
            updates: Arc::default(),
        }
    }

    /// Answers with the page of a canister.
    pub async fn page(&self, site: Site, request: PageRequest) -> Answer {
        match self.try_page(site, request).await {
            Ok(answer) => answer,
            Err(error) => {
                let status = match error {
                    PageError::Canister(_) => StatusCode::BAD_GATEWAY,
                    PageError::Uncertified(_) | PageError::Replica => {
                        StatusCode::SERVICE_UNAVAILABLE
                    }
                    PageError::Timeout => StatusCode::GATEWAY_TIMEOUT,
                };
                text(status, error.to_string())
            }
        }
    }

    async fn try_page(&self, site: Site, request: PageRequest) -> Result<Answer, PageError> {
        let url = request
            .uri
            .path_and_query()
            .map_or("/", |url| url.as_str())
            .to_owned();
        let headers: Vec<(String, String)> = request
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        let asked = CanisterRequest {
            method: request.method.to_string(),
            url: url.clone(),
            headers: headers.clone(),
            body: request.body.to_vec().into(),
            certificate_version: Some(CERTIFICATE_VERSION),
        };
        let arg = asked.encode().map_err(PageError::Canister)?;
        let reply = self
            .query(site.canister, "http_request", arg.clone())
            .await?;
        let mut response = CanisterResponse::decode(&reply).map_err(PageError::Canister)?;
        if response.upgrade {
            let reply = self
                .update(site.canister, "http_request_update", arg)
                .await?;
            // An update's answer is agreed upon: it needs no certificate of its own.
            let mut response = CanisterResponse::decode(&reply).map_err(PageError::Canister)?;
            self.stream(&mut response).await?;
            return Ok(page(response));
        }
        self.stream(&mut response).await?;
        if !site.raw {
            let certified = HttpRequest::builder()
                .with_method(request.method)
                .with_url(url)
                .with_headers(headers)
                .with_body(request.body.to_vec())
                .build();
            response = self.verified(site.canister, certified, response).await?;
        }
        Ok(page(response))
    }

    /// Appends the rest of a body that comes in pieces.
    async fn stream(&self, response: &mut CanisterResponse) -> Result<(), PageError> {
        let mut next = response.streaming.take();
        while let Some(callback) = next {
            let arg = callback.argument().map_err(PageError::Canister)?;
            let reply = self.query(callback.canister, &callback.method, arg).await?;
            let chunk = StreamingChunk::decode(&reply).map_err(PageError::Canister)?;
            let Some(chunk) = chunk else { break };
            response.body.extend_from_slice(&chunk.body);
            if response.body.len() > MAX_STREAMED_BYTES {
                return Err(PageError::Canister("The page is too large.".into()));
            }
            next = chunk.token.map(|token| callback.with(token));
        }
        Ok(())
    }

    /// The response with what its certificate covers.
    async fn verified(
        &self,
        canister: Principal,
        request: HttpRequest<'static>,
        mut response: CanisterResponse,
    ) -> Result<CanisterResponse, PageError> {
        let keys = self.keys.clone();
        let now = u128::from(self.machine.published().snapshot().certified.time_ns());
        let status = StatusCode::from_u16(response.status)
            .map_err(|_| PageError::Canister("Not an HTTP status code.".into()))?;
        let checked = tokio::task::spawn_blocking(move || {
            let certified = HttpResponse::builder()
                .with_status_code(status)
                .with_headers(response.headers.clone())
                .with_body(response.body.clone())
                .build();
            let result = verify_request_response_pair(
                request,
                certified,
                canister.as_slice(),
                now,
                MAX_CERTIFICATE_AGE_NS,
                keys.root_key_der(),
                MIN_CERTIFICATE_VERSION,
            );
            match result {
                Ok(info) => {
                    // With version 2 only the headers that are certified are believed.
                    if let (2.., Some(verified)) = (info.verification_version, info.response) {
                        response.headers = verified.headers;
                    }
                    Ok(response)
                }
                Err(error) => Err(PageError::Uncertified(error.to_string())),
            }
        });
        checked.await.map_err(|_| PageError::Replica)?
    }

    async fn query(
        &self,
        canister: Principal,
        method: &str,
        arg: Vec<u8>,
    ) -> Result<Vec<u8>, PageError> {
        let anonymous = Principal::anonymous();
        let answered = self.machine.query(anonymous, canister, method.into(), arg);
        let (result, _) = answered.await.map_err(|_| PageError::Replica)?;
        match result {
            QueryResult::Replied(reply) => Ok(reply),
            QueryResult::Rejected(reject) => Err(reject.into()),
        }
    }

    async fn update(
        &self,
        canister: Principal,
        method: &str,
        arg: Vec<u8>,
    ) -> Result<Vec<u8>, PageError> {
        let now = wall_ns();
        let count = self.updates.fetch_add(1, Ordering::Relaxed);
        let mut hasher = Sha256::new();
        hasher.update(b"gateway update");
        hasher.update(now.to_le_bytes());
        hasher.update(count.to_le_bytes());
        hasher.update(&arg);
        let id: [u8; 32] = hasher.finalize().into();
        let ingress = Ingress {
            sender: Principal::anonymous(),
            canister_id: canister,
            method_name: method.to_owned(),
            wire_bytes: arg.len(),
            arg,
            ingress_expiry_ns: now + UPDATE_TTL_NS,
            request_id: id,
        };
        let (waiter, answered) = oneshot::channel();
        self.machine
            .run(move |machine| machine.submit(ingress, Some(waiter)))
            .await
            .map_err(|_| PageError::Replica)??;
        tokio::time::timeout(UPDATE_TIMEOUT, answered)
            .await
            .map_err(|_| PageError::Timeout)?
            .map_err(|_| PageError::Replica)?;
        let status = self
            .machine
            .run(move |machine| machine.replica.ingress_status(&id))
            .await
            .map_err(|_| PageError::Replica)?;
        match status {
            IngressStatus::Replied(reply) => Ok(reply),
            IngressStatus::Rejected(reject) => Err(reject.into()),
            _ => Err(PageError::Replica),
        }
    }
}

/// The HTTP answer of a canister's response.
fn page(response: CanisterResponse) -> Answer {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut page = answer(status, "application/octet-stream", response.body);
    page.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in response.headers {
        let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.as_str()),
            HeaderValue::try_from(value.as_str()),
        ) else {
            continue;
        };
        // The connection is the server's affair.
        let own = [
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
        ];
        if !own.contains(&name) {
            page.headers_mut().append(name, value);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "rrkah-fqaaa-aaaaa-aaaaq-cai";

    fn site(uri: &str, headers: &[(HeaderName, &str)]) -> Option<Site> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("a value")))
            .collect();
        Site::of(&uri.parse().expect("a URI"), &headers)
    }

    #[test]
    fn sites_by_host_query_and_referer() {
        let canister = Principal::from_text(ID).expect("an id");
        let certified = Some(Site {
            canister,
            raw: false,
        });
        let raw = Some(Site {
            canister,
            raw: true,
        });
        let host = |host: &str| site("/", &[(header::HOST, host)]);
        assert_eq!(host(&format!("{ID}.localhost:4943")), certified);
        assert_eq!(host(&format!("{}.LOCALHOST", ID.to_uppercase())), certified);
        assert_eq!(host(&format!("{ID}.raw.localhost:1")), raw);
        assert_eq!(host(&format!("{ID}.other.localhost")), None);
        assert_eq!(host(&format!("{ID}.example.com")), None);
        assert_eq!(host("localhost"), None);
        assert_eq!(site(&format!("/x?a=b&canisterId={ID}"), &[]), certified);
        assert_eq!(site("/x?canisterId=nonsense", &[]), None);
        let page = format!("http://127.0.0.1:4943/?canisterId={ID}");
        assert_eq!(site("/app.js", &[(header::REFERER, &page)]), certified);
    }
}
