//! The server: accepts connections, reads bodies within limits, and routes to the endpoints.

use super::endpoints::{CallVersion, Endpoints};
use super::gateway::{Gateway, PageRequest, Site};
use super::keys::Keys;
use super::paths::Scope;
use super::response::{Answer, allow_browsers, text};
use super::state_thread::{self, Handle, Machine, Stopped};
use crate::runtime::stack::THREAD_STACK;
use crate::{Principal, Replica, ReplicaConfig, ReplicaError};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The largest body that is read, in bytes.
const MAX_BODY_BYTES: usize = 5 * 1024 * 1024;
/// How long a client may take to send a request's head, and then its body.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_CONNECTIONS: usize = 1_024;
/// What all bodies being handled may take together, in KiB.
const MAX_BODIES_KIB: usize = 256 * 1024;
/// How long requests that are being answered may delay the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The replica behind it.
    pub replica: ReplicaConfig,
    /// Address or name to listen on.
    pub host: String,
    /// Port to listen on; 0 for any that is free.
    pub port: u16,
    /// The shortest time between two rounds; zero for as fast as possible.
    pub round_interval: Duration,
}

impl Default for ServerConfig {
    /// In memory, on any free port of this machine, as fast as possible.
    fn default() -> ServerConfig {
        ServerConfig {
            replica: ReplicaConfig::default(),
            host: "127.0.0.1".into(),
            port: 0,
            round_interval: Duration::ZERO,
        }
    }
}

/// A server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The replica cannot be set up.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// What was to be listened on.
        address: String,
        /// The reason.
        error: std::io::Error,
    },
    /// No threads, or no runtime.
    #[error("cannot start the server: {0}")]
    Start(#[from] std::io::Error),
}

/// A running replica with its HTTP front. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    keys: Arc<Keys>,
    machine: Handle,
    machine_thread: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    connections: Arc<Semaphore>,
}

impl Server {
    /// Starts a replica and serves it on threads of its own.
    ///
    /// # Errors
    /// When the replica cannot be set up or the address cannot be listened on.
    pub fn start(config: ServerConfig) -> Result<Server, ServerError> {
        let listener = listen(&config.host, config.port).map_err(|error| ServerError::Listen {
            address: format!("{}:{}", config.host, config.port),
            error,
        })?;
        let address = listener.local_addr()?;
        let keys = Arc::new(Keys::from_seed(config.replica.seed));
        let replica = Replica::new(config.replica)?;
        let (machine, machine_thread) =
            state_thread::start(replica, keys.clone(), config.round_interval)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(12)
            // Queries run on these threads.
            .thread_stack_size(THREAD_STACK)
            .thread_name("http")
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let service = Service {
            endpoints: Endpoints {
                machine: machine.clone(),
                keys: keys.clone(),
            },
            gateway: Gateway::new(machine.clone(), keys.clone()),
            bodies: Arc::new(Semaphore::new(MAX_BODIES_KIB)),
        };
        let listener = {
            let _in_runtime = runtime.enter();
            TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(listener, service, connections.clone(), stopped));
        Ok(Server {
            address,
            keys,
            machine,
            machine_thread: Some(machine_thread),
            runtime: Some(runtime),
            stop,
            connections,
        })
    }

    /// Where it listens, such as `http://127.0.0.1:4943`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// DER encoding of the root public key.
    pub fn root_key(&self) -> Vec<u8> {
        self.keys.root_key_der().to_vec()
    }

    /// Runs `f` on the replica between two rounds: to look at it, to move its time, to run
    /// rounds. What it changes is certified.
    ///
    /// # Errors
    /// When the machine has stopped, or `f` panics.
    pub fn with_replica<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Replica) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        self.machine.run_blocking(|machine| machine.with_replica(f))
    }

    /// Whether rounds are still executed.
    pub fn is_running(&self) -> bool {
        self.machine.published().is_running()
    }

    /// Stops: requests that are being answered have a few seconds to end, and the round that
    /// runs ends.
    pub fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(runtime) = &self.runtime {
            let connections = self.connections.clone();
            let (send, receive) = std::sync::mpsc::channel();
            runtime.spawn(async move {
                let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
                let idle = connections.acquire_many(all);
                let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, idle).await;
                // The receiver waits for this.
                let _ = send.send(());
            });
            // An error means that the runtime is gone, which is as good.
            let _ = receive.recv();
        }
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // An error means that the machine has stopped already.
        let _ = self.machine.run_blocking(Machine::stop);
        if let Some(thread) = self.machine_thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(host: &str, port: u16) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind((host, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn accept(
    listener: TcpListener,
    service: Service,
    connections: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            () = end(&mut stopped) => return,
        };
        match stream {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, service.clone(), permit, stopped.clone()));
            }
            // Too many open files, for instance: others have to end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(
    stream: TcpStream,
    service: Service,
    permit: OwnedSemaphorePermit,
    mut stopped: watch::Receiver<bool>,
) {
    // Small answers are not to wait for more; without this they are only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.handle(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A broken connection is the client's affair.
        _ = connection.as_mut() => {}
        () = end(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    drop(permit);
}

/// Returns when the server stops.
async fn end(stopped: &mut watch::Receiver<bool>) {
    // An error means that the server is gone.
    drop(stopped.wait_for(|stop| *stop).await);
}

#[derive(Clone)]
struct Service {
    endpoints: Endpoints,
    gateway: Gateway,
    bodies: Arc<Semaphore>,
}

impl Service {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        let mut answer = self.route(request).await;
        allow_browsers(&mut answer);
        answer
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        // A browser asks whether it may send the request that follows.
        if request.method() == Method::OPTIONS {
            return text(StatusCode::NO_CONTENT, "");
        }
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match segments.as_slice() {
            ["api", "v2", "status"] => reading(&request, || self.endpoints.status()),
            ["_", "metrics"] => reading(&request, || self.endpoints.metrics()),
            ["api", version, kind, id, verb] => {
                let Some(endpoint) = Endpoint::find(version, kind, verb) else {
                    return not_found();
                };
                let scope = match (Principal::from_text(id), *kind) {
                    (Ok(id), "canister") => Scope::Canister(id),
                    (Ok(id), _) => Scope::Subnet(id),
                    (Err(error), _) => {
                        let message = format!("Invalid principal in URL: {error}");
                        return text(StatusCode::BAD_REQUEST, message);
                    }
                };
                self.post(request, scope, endpoint).await
            }
            ["api" | "_", ..] => not_found(),
            _ => self.page(request).await,
        }
    }

    async fn page(&self, request: Request<Incoming>) -> Answer {
        let Some(site) = Site::of(request.uri(), request.headers()) else {
            return text(
                StatusCode::NOT_FOUND,
                "A local replica of the Internet Computer. Pages of a canister are at \
                 http://<canister id>.localhost:<port>/",
            );
        };
        let (head, body) = request.into_parts();
        let (body, _room) = match self.body(body).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let request = PageRequest {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body,
        };
        self.gateway.page(site, request).await
    }

    async fn post(&self, request: Request<Incoming>, scope: Scope, endpoint: Endpoint) -> Answer {
        if request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "Use POST.");
        }
        let content_type = request.headers().get(CONTENT_TYPE);
        if content_type.is_none_or(|value| value != "application/cbor") {
            return text(
                StatusCode::BAD_REQUEST,
                "Unexpected content-type, expected application/cbor.",
            );
        }
        let (body, _room) = match self.body(request.into_body()).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        match endpoint {
            Endpoint::Call(version) => self.endpoints.call(scope, body, version).await,
            Endpoint::Query => self.endpoints.query(scope, body).await,
            Endpoint::ReadState => self.endpoints.read_state(scope, body).await,
        }
    }

    /// Reads a body, with the room that it takes of what all bodies may take.
    async fn body(&self, body: Incoming) -> Result<(Bytes, OwnedSemaphorePermit), Answer> {
        let too_large = || {
            let message = format!("The body is larger than {MAX_BODY_BYTES} bytes.");
            text(StatusCode::PAYLOAD_TOO_LARGE, message)
        };
        let most = body.size_hint().upper().unwrap_or(MAX_BODY_BYTES as u64);
        if most > MAX_BODY_BYTES as u64 {
            return Err(too_large());
        }
        let kib = u32::try_from(most / 1024 + 1).unwrap_or(u32::MAX);
        let read = async {
            let room = self.bodies.clone().acquire_many_owned(kib).await;
            let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
            (room, body)
        };
        match tokio::time::timeout(BODY_TIMEOUT, read).await {
            Ok((Ok(room), Ok(body))) => Ok((body.to_bytes(), room)),
            Ok((_, Err(error))) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(_) => Err(text(StatusCode::BAD_REQUEST, "The body could not be read.")),
            Err(_) => Err(text(
                StatusCode::REQUEST_TIMEOUT,
                "The body took too long to arrive.",
            )),
        }
    }
}

#[derive(Clone, Copy)]
enum Endpoint {
    Call(CallVersion),
    Query,
    ReadState,
}

impl Endpoint {
    fn find(version: &str, kind: &str, verb: &str) -> Option<Endpoint> {
        Some(match (kind, verb, version) {
            ("canister", "call", "v2") => Endpoint::Call(CallVersion::Asynchronous),
            ("canister", "call", "v3" | "v4") | ("subnet", "call", "v4") => {
                Endpoint::Call(CallVersion::Synchronous)
            }
            ("canister", "query", "v2" | "v3") | ("subnet", "query", "v3") => Endpoint::Query,
            ("canister" | "subnet", "read_state", "v2" | "v3") => Endpoint::ReadState,
            _ => return None,
        })
    }
}

/// The answer to a request that changes nothing.
fn reading(request: &Request<Incoming>, answer: impl FnOnce() -> Answer) -> Answer {
    match *request.method() {
        Method::GET | Method::HEAD => answer(),
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "Use GET."),
    }
}

fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "Not found.")
}
