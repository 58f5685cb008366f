//! The accept loop: connections with limits in number, per address and in time.
//!
//! Promises: a connection that sends no whole head in time is closed, and so is an idle one and
//! one that takes nothing of what is written to it; a failure to accept is waited out; told to
//! stop, it takes no more, lets those under way finish for a grace period, and then ends them.
//! HTTP/1.1 only.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::Service;

use super::counters::{self, Counters};
use super::hosts;
use super::limits::HttpLimits;
use super::panics::caught;
use super::taken::Taken;

/// How long to wait when no connection can be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers the requests of all connections.
#[derive(Debug)]
pub(super) struct Site {
    router: Router,
    local_only: bool,
    counters: Counters,
}

impl Site {
    pub(super) fn new(router: Router, local_only: bool) -> Self {
        Self { router, local_only, counters: Counters::new() }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response {
        let route = counters::route(request.method(), request.uri().path());
        let allowed =
            if self.local_only { hosts::check(request.headers(), request.uri()) } else { Ok(()) };
        let response = match allowed {
            Ok(()) => {
                let mut router = self.router.clone();
                match caught(router.call(request.map(Body::new))).await {
                    Ok(Ok(response)) => response,
                    Ok(Err(never)) => match never {},
                    Err(problem) => problem.into_response(),
                }
            }
            Err(problem) => problem.into_response(),
        };
        self.counters.count(route, response.status());
        response
    }
}

/// Accepts connections until `stop` is ready.
pub(super) async fn run(
    listener: TcpListener,
    site: Site,
    limits: &HttpLimits,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let acceptor = Acceptor {
        listener,
        permits: Arc::new(Semaphore::new(limits.connections)),
        addresses: Addresses { most: limits.connections_per_address, ..Addresses::default() },
    };
    let site = Arc::new(site);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let (stream, place) = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = acceptor.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let site = Arc::clone(&site);
        let service = service_fn(move |request| {
            let site = Arc::clone(&site);
            async move { Ok::<_, Infallible>(site.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read_timeout)
            .max_buf_size(limits.header_bytes)
            // One buffer of so many bytes: what is written to many at once is mostly small.
            .writev(false)
            .serve_connection(TokioIo::new(Taken::new(stream, limits.write_timeout)), service);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            // Whatever ended it, it is the client's business alone.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    drop(acceptor);
    tracing::info!("stopping: requests under way are finished");
    if tokio::time::timeout(limits.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end within the grace period and are cut off");
    }
    connections.shutdown().await;
}

/// A connection's place among those that may be.
struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    _address: AddressPlace,
}

struct Acceptor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    addresses: Addresses,
}

impl Acceptor {
    /// The next connection that may be. Dropping the future loses none: at most one that was
    /// accepted is closed.
    async fn accept(&self) -> (TcpStream, Place) {
        let mut is_said = false;
        loop {
            // The semaphore is never closed.
            let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, peer)) => match self.addresses.enter(peer) {
                    Some(address) => {
                        // Answers are small and written whole: waiting to fill a packet only
                        // delays them. A socket that refuses is about to end anyway.
                        let _ = stream.set_nodelay(true);
                        return (stream, Place { _permit: permit, _address: address });
                    }
                    None => tracing::debug!(%peer, "too many connections from one address"),
                },
                Err(error) => {
                    if !is_said {
                        tracing::warn!(%error, "connections cannot be accepted; they wait");
                    }
                    is_said = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Connections by address.
#[derive(Clone, Default)]
struct Addresses {
    most: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Addresses {
    fn enter(&self, peer: SocketAddr) -> Option<AddressPlace> {
        let address = peer.ip().to_canonical();
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(AddressPlace { addresses: self.clone(), address })
    }
}

struct AddressPlace {
    addresses: Addresses,
    address: IpAddr,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let addresses = Addresses { most: 2, ..Addresses::default() };
        let peer = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let first = addresses.enter(peer("10.0.0.1:1"));
        let second = addresses.enter(peer("[::ffff:10.0.0.1]:2"));
        assert!(first.is_some() && second.is_some());
        assert!(addresses.enter(peer("10.0.0.1:3")).is_none());
        assert!(addresses.enter(peer("10.0.0.2:1")).is_some());
        drop(second);
        assert!(addresses.enter(peer("10.0.0.1:4")).is_some());
        drop(first);
        assert!(addresses.counts.lock().is_empty());
    }
}
