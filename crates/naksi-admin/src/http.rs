//! The thread that answers: one runtime, a bounded number of connections, bounded requests. Nothing here knows a metric.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{self, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use naksi::ServiceHandle;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio_io_timeout::TimeoutStream;

use crate::access::{Access, Denial};
use crate::live::{self, STREAMS_MAX};
use crate::{health, metrics, text};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// The head of a request must be whole this long after its connection is free for it, and a reader must take something
/// within this time.
const STEP_WITHIN: Duration = Duration::from_secs(5);
/// The head of a request.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Pause after an accept that failed because no descriptor is left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Answers under way when the server ends have this long.
const END_WITHIN: Duration = Duration::from_millis(200);

/// What answers are made of.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) service: ServiceHandle,
    pub(crate) began: SystemTime,
    access: Access,
    turn_within: Duration,
    connections: Arc<Semaphore>,
    /// Of live pages.
    pub(crate) streams: Arc<Semaphore>,
    streams_refused: AtomicU64,
    /// Connections that were closed at once, because there were as many as there may be.
    connections_refused: AtomicU64,
    /// Requests that were refused, by [`Denial`].
    refused: [AtomicU64; Denial::ALL.len()],
}

impl State {
    pub(crate) fn new(service: ServiceHandle, access: Access, turn_within: Duration) -> Self {
        Self {
            service,
            began: SystemTime::now(),
            access,
            turn_within,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            streams_refused: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            refused: Default::default(),
        }
    }

    /// Connections of the admin server now.
    pub(crate) fn connections(&self) -> usize {
        CONNECTIONS_MAX - self.connections.available_permits()
    }

    /// What the admin server refused, by reason.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let requests = Denial::ALL.iter().zip(&self.refused);
        let requests = requests.map(|(refusal, count)| (refusal.name(), count.load(Ordering::Relaxed)));
        let others = [("connections", &self.connections_refused), ("streams", &self.streams_refused)];
        requests.chain(others.map(|(name, count)| (name, count.load(Ordering::Relaxed))))
    }

    /// A stream of events was refused, because there are as many as there may be.
    pub(crate) fn stream_refused(&self) {
        self.streams_refused.fetch_add(1, Ordering::Relaxed);
    }

    fn refuse(&self, refusal: Denial) -> Response {
        let place = Denial::ALL.iter().position(|one| *one == refusal).expect("all of them are there");
        self.refused[place].fetch_add(1, Ordering::Relaxed);
        let mut response = refusal.answer().into_response();
        if refusal == Denial::Token {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An admin server that answers, until it is dropped.
pub struct AdminServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Where it listens, with the port number that the system picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok(); // What it panicked with was written by its thread.
        }
    }
}

impl fmt::Debug for AdminServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminServer({})", self.address)
    }
}

pub(crate) fn serve(listener: TcpListener, address: SocketAddr, state: State) -> io::Result<AdminServer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let state = Arc::new(state);
    let live = move || {
        runtime.spawn(accept(listener, state));
        // It ends with an error when its sender is dropped, which is the end.
        runtime.block_on(stopped).ok();
        runtime.shutdown_timeout(END_WITHIN);
    };
    let thread = thread::Builder::new().name("naksi-admin".to_owned()).spawn(live)?;
    Ok(AdminServer { address, stop: Some(stop), thread: Some(thread) })
}

async fn accept(listener: tokio::net::TcpListener, state: Arc<State>) {
    let router = router(&state);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin server accepts no connection for a moment");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&state.connections).try_acquire_owned() else {
            state.connections_refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            answer_all(stream, router).await;
            drop(permit);
        });
    }
}

/// Answers the requests of one connection.
async fn answer_all(stream: TcpStream, router: Router) {
    stream.set_nodelay(true).ok(); // An option, not a need.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STEP_WITHIN));
    let mut connection = http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(STEP_WITHIN).max_buf_size(HEAD_BYTES_MAX);
    let served =
        connection.serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection of the admin server ended");
    }
}

fn router(state: &Arc<State>) -> Router {
    let guard = middleware::from_fn_with_state(Arc::clone(state), guard);
    Router::new()
        .route("/", get(live::html))
        .route("/page.js", get(live::script))
        .route("/page.css", get(live::style))
        .route("/api/stats", get(live::once))
        .route("/api/events", get(live::events))
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(async || (StatusCode::NOT_FOUND, "no such page\n"))
        .with_state(Arc::clone(state))
        .layer(guard)
}

/// Lets requests in that may be answered, and marks every answer as not to be kept or taken for something else.
async fn guard(extract::State(state): extract::State<Arc<State>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = match state.access.check(&parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => state.refuse(refusal),
    };
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn metrics_page(extract::State(state): extract::State<Arc<State>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, text::MEDIA_TYPE)], metrics::page(&state))
}

async fn healthz(extract::State(state): extract::State<Arc<State>>) -> (StatusCode, String) {
    let within = state.turn_within;
    match health::workers_stuck(&state.service, within).await.as_slice() {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        stuck => {
            let stuck = stuck.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let text = format!(
                "workers that have not turned for {within:?}: {stuck}; a callback may be blocking them\n"
            );
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

async fn readyz(extract::State(state): extract::State<Arc<State>>) -> (StatusCode, &'static str) {
    match state.service.is_stopping() {
        false => (StatusCode::OK, "ready\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "the service stops\n"),
    }
}
