//! The endpoints of the interface specification under `/api/`.

use super::keys::Keys;
use super::paths::{self, PathError, Reader, Scope};
use super::response::{Answer, answer, cbor_answer, text};
use super::state_thread::{Handle, Metrics, Snapshot, wall_ns};
use super::validate::{self, Context, Request, RequestError};
use crate::{Ingress, Principal, QueryResult, Reject};
use bytes::Bytes;
use candid::{CandidType, Decode, DecoderConfig};
use hyper::StatusCode;
use ic_transport_types::{EnvelopeContent, NodeSignature, ReplyResponse, to_request_id};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a synchronous call waits for its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest signed call, in bytes.
const MAX_CALL_BYTES: usize = 2 * 1024 * 1024;

/// What the endpoints need.
#[derive(Clone)]
pub struct Endpoints {
    /// The way to the state machine.
    pub machine: Handle,
    /// Keys of the subnet and the node.
    pub keys: Arc<Keys>,
}

/// Version of the call endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallVersion {
    /// v2: answers at once; the client polls.
    Asynchronous,
    /// v3 and v4: waits for the answer.
    Synchronous,
}

impl Endpoints {
    /// `GET /api/v2/status`
    pub fn status(&self) -> Answer {
        #[derive(Serialize)]
        struct Status<'a> {
            root_key: &'a serde_bytes::Bytes,
            impl_version: &'a str,
            replica_health_status: &'a str,
            certified_height: u64,
        }
        let published = self.machine.published();
        cbor_answer(&Status {
            root_key: serde_bytes::Bytes::new(self.keys.root_key_der()),
            impl_version: concat!("local-replica ", env!("CARGO_PKG_VERSION")),
            replica_health_status: match published.is_running() {
                true => "healthy",
                false => "stopped",
            },
            certified_height: published.round(),
        })
    }

    /// `GET /_/metrics`: JSON, per canister what it has executed.
    pub fn metrics(&self) -> Answer {
        let published = self.machine.published();
        let snapshot = published.snapshot();
        let canisters: BTreeMap<String, &Metrics> = snapshot
            .metrics
            .iter()
            .map(|(id, metrics)| (id.to_text(), metrics))
            .collect();
        let metrics = serde_json::json!({
            "rounds": published.round(),
            "executing": published.is_executing(),
            "time_ns": snapshot.certified.time_ns(),
            "canisters": canisters,
        });
        answer(StatusCode::OK, "application/json", metrics.to_string())
    }

    /// `POST /api/../call`
    pub async fn call(&self, scope: Scope, body: Bytes, version: CallVersion) -> Answer {
        self.try_call(scope, body, version)
            .await
            .unwrap_or_else(|failed| failed)
    }

    /// `POST /api/../query`
    pub async fn query(&self, scope: Scope, body: Bytes) -> Answer {
        self.try_query(scope, body)
            .await
            .unwrap_or_else(|failed| failed)
    }

    /// `POST /api/../read_state`
    pub async fn read_state(&self, scope: Scope, body: Bytes) -> Answer {
        self.try_read_state(scope, body)
            .await
            .unwrap_or_else(|failed| failed)
    }

    async fn try_call(
        &self,
        scope: Scope,
        body: Bytes,
        version: CallVersion,
    ) -> Result<Answer, Answer> {
        let wire_bytes = body.len();
        let request = self.request(body).await?;
        let EnvelopeContent::Call {
            ingress_expiry,
            sender,
            canister_id,
            method_name,
            arg,
            ..
        } = request.content
        else {
            return Err(bad_request("Expected a request of type \"call\"."));
        };
        check_effective(scope, &canister_id, &method_name, &arg).map_err(bad_request)?;
        if wire_bytes > MAX_CALL_BYTES {
            return Err(text(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "Request 0x{} is too large. Message byte size {wire_bytes} is larger than \
                     the max allowed {MAX_CALL_BYTES}.",
                    hex::encode(request.id)
                ),
            ));
        }
        let id = request.id;
        let ingress = Ingress {
            sender,
            canister_id,
            method_name,
            arg,
            ingress_expiry_ns: ingress_expiry,
            request_id: id,
            wire_bytes,
        };
        let (waiter, answered) = oneshot::channel();
        let waiter = (version == CallVersion::Synchronous).then_some(waiter);
        let submitted = self
            .machine
            .run(move |machine| machine.submit(ingress, waiter))
            .await;
        match submitted {
            Err(_) => return Err(self.no_answer()),
            Ok(Err(reject)) => return Ok(cbor_answer(&Rejection::new(&reject))),
            Ok(Ok(())) => {}
        }
        if version == CallVersion::Asynchronous {
            return Ok(accepted(""));
        }
        match tokio::time::timeout(CALL_TIMEOUT, answered).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.no_answer()),
            Err(_) => {
                return Ok(accepted(
                    "Message did not complete execution and certification within the replica \
                     defined timeout.",
                ));
            }
        }
        #[derive(Serialize)]
        struct Replied {
            status: &'static str,
            certificate: ByteBuf,
        }
        let path = vec![b"request_status".to_vec(), id.to_vec()];
        let snapshot = self.machine.published().snapshot();
        let certificate = self.certificate(snapshot, vec![path]).await?;
        Ok(cbor_answer(&Replied {
            status: "replied",
            certificate: ByteBuf::from(certificate),
        }))
    }

    async fn try_query(&self, scope: Scope, body: Bytes) -> Result<Answer, Answer> {
        let request = self.request(body).await?;
        let EnvelopeContent::Query {
            sender,
            canister_id,
            method_name,
            arg,
            ..
        } = request.content
        else {
            return Err(bad_request("Expected a request of type \"query\"."));
        };
        check_effective(scope, &canister_id, &method_name, &arg).map_err(bad_request)?;
        let (result, time_ns) = self
            .machine
            .query(sender, canister_id, method_name, arg)
            .await
            .map_err(|_| self.no_answer())?;
        Ok(self.signed(result, request.id, time_ns))
    }

    async fn try_read_state(&self, scope: Scope, body: Bytes) -> Result<Answer, Answer> {
        let request = self.request(body).await?;
        let EnvelopeContent::ReadState { sender, paths, .. } = &request.content else {
            return Err(bad_request("Expected a request of type \"read_state\"."));
        };
        if let Scope::Subnet(id) = scope
            && id != self.keys.subnet_id()
        {
            return Err(text(
                StatusCode::NOT_FOUND,
                format!("Subnet {id} is not here."),
            ));
        }
        let paths: Vec<Vec<Vec<u8>>> = paths
            .iter()
            .map(|path| path.iter().map(|label| label.as_bytes().to_vec()).collect())
            .collect();
        let snapshot = self.machine.fresh_snapshot().await;
        let reader = Reader {
            sender: *sender,
            targets: &request.targets,
        };
        paths::check(
            &paths,
            scope,
            &reader,
            self.machine.published(),
            &snapshot.canisters,
        )
        .map_err(|error| {
            let status = match error {
                PathError::Invalid(_) => StatusCode::BAD_REQUEST,
                PathError::Forbidden(_) => StatusCode::FORBIDDEN,
                PathError::Unknown => StatusCode::NOT_FOUND,
            };
            text(status, error.to_string())
        })?;
        #[derive(Serialize)]
        struct ReadState {
            certificate: ByteBuf,
        }
        let certificate = self.certificate(snapshot, paths).await?;
        Ok(cbor_answer(&ReadState {
            certificate: ByteBuf::from(certificate),
        }))
    }

    /// The machine did not answer: it has stopped, or failed at this request.
    fn no_answer(&self) -> Answer {
        if self.machine.published().is_running() {
            return failed();
        }
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "Replica is unhealthy: it has stopped. Check the /api/v2/status for more information.",
        )
    }

    /// Decodes and checks a body on a thread that may compute.
    async fn request(&self, body: Bytes) -> Result<Request, Answer> {
        let keys = self.keys.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let context = Context {
                now_ns: wall_ns(),
                root_key_der: keys.root_key_der(),
            };
            validate::request(&body, &context)
        });
        match checked.await {
            Ok(Ok(request)) => Ok(request),
            Ok(Err(error)) => {
                let status = match error {
                    RequestError::Malformed(_) | RequestError::Expiry(_) => StatusCode::BAD_REQUEST,
                    RequestError::Authentication { .. } => StatusCode::FORBIDDEN,
                };
                Err(text(status, error.to_string()))
            }
            Err(_) => Err(failed()),
        }
    }

    /// A certificate, signed on a thread that may compute.
    async fn certificate(
        &self,
        snapshot: Arc<Snapshot>,
        paths: Vec<Vec<Vec<u8>>>,
    ) -> Result<Vec<u8>, Answer> {
        tokio::task::spawn_blocking(move || snapshot.certified.certificate(&paths))
            .await
            .map_err(|_| failed())
    }

    /// The answer of a query with the node's signature.
    fn signed(&self, result: QueryResult, request_id: [u8; 32], timestamp: u64) -> Answer {
        let reply;
        let rejection;
        let response = match result {
            QueryResult::Replied(arg) => {
                reply = ReplyResponse { arg };
                QueryBody {
                    status: "replied",
                    reply: Some(&reply),
                    ..QueryBody::default()
                }
            }
            QueryResult::Rejected(reject) => {
                rejection = reject;
                QueryBody {
                    status: "rejected",
                    reject_code: Some(rejection.code),
                    reject_message: Some(&rejection.message),
                    error_code: rejection.error_code.as_deref(),
                    ..QueryBody::default()
                }
            }
        };
        let signed = QueryBody {
            request_id: Some(serde_bytes::Bytes::new(&request_id)),
            timestamp: Some(timestamp),
            ..response.clone()
        };
        let Ok(hash) = to_request_id(&signed) else {
            return failed();
        };
        let message = [&b"\x0Bic-response"[..], hash.as_slice()].concat();
        cbor_answer(&QueryBody {
            signatures: Some(vec![NodeSignature {
                timestamp,
                signature: self.keys.sign_as_node(&message),
                identity: self.keys.node_id(),
            }]),
            ..response
        })
    }
}

/// A query's answer: with `signatures` as it is sent, with `request_id` and `timestamp` as it is
/// signed.
#[derive(Clone, Default, Serialize)]
struct QueryBody<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a ReplyResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reject_code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reject_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a serde_bytes::Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signatures: Option<Vec<NodeSignature>>,
}

/// A call refused before it was executed.
#[derive(Serialize)]
struct Rejection<'a> {
    status: &'a str,
    reject_code: u32,
    reject_message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
}

impl Rejection<'_> {
    fn new(reject: &Reject) -> Rejection<'_> {
        Rejection {
            status: "non_replicated_rejection",
            reject_code: reject.code,
            reject_message: &reject.message,
            error_code: reject.error_code.as_deref(),
        }
    }
}

/// Checks that the URL names the canister (or subnet) that a request is for.
fn check_effective(
    scope: Scope,
    canister_id: &Principal,
    method: &str,
    arg: &[u8],
) -> Result<(), String> {
    let management = *canister_id == Principal::management_canister();
    let effective = match scope {
        Scope::Canister(effective) => effective,
        Scope::Subnet(_) if management => return Ok(()),
        Scope::Subnet(_) => {
            return Err("Only the management canister is called through a subnet.".into());
        }
    };
    let wanted = match management {
        false => Some(*canister_id),
        // Whom a management call is about; calls about nobody in particular go anywhere.
        true if effective == Principal::management_canister() => None,
        true => subject(method, arg),
    };
    match wanted {
        Some(wanted) if wanted != effective => Err(format!(
            "Specified CanisterId {wanted} does not match effective canister id in URL {effective}"
        )),
        _ => Ok(()),
    }
}

/// The canister that a call of the management canister is about.
fn subject(method: &str, arg: &[u8]) -> Option<Principal> {
    #[derive(CandidType, Deserialize)]
    struct Target {
        target_canister: Principal,
    }
    #[derive(CandidType, Deserialize)]
    struct Canister {
        canister_id: Principal,
    }
    // Few bytes can say that billions of values follow: what is skipped is bounded by the size.
    let mut bounded = DecoderConfig::new();
    bounded.set_skipping_quota(4 * arg.len() + 10_000);
    if method == "install_chunked_code" {
        let arg = Decode!([bounded]; arg, Target).ok()?;
        return Some(arg.target_canister);
    }
    let arg = Decode!([bounded]; arg, Canister).ok()?;
    Some(arg.canister_id)
}

fn bad_request(message: impl Into<String>) -> Answer {
    text(StatusCode::BAD_REQUEST, message)
}

fn accepted(reason: &'static str) -> Answer {
    text(StatusCode::ACCEPTED, reason)
}

fn failed() -> Answer {
    text(
        StatusCode::INTERNAL_SERVER_ERROR,
        "The request failed in the replica.",
    )
}
