//! The guard in front of every route: finds out who calls, asks whether that one may,
//! and sees to it that the audit log hears of it.
//!
//! While no token exists it answers whoever is on this machine: that the request came
//! to a loopback address is not enough, since a page in a browser can send one there.

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequestParts as _, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use gnomon_cloud_core::access::{self, Actor, Needs, PathNames};
use gnomon_schemas::limits::MODULE_BYTES_MAX;
use gnomon_schemas::reason::{Reason, Refusal};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Route;
use super::call::Caller;
use super::problem::Problem;
use crate::app::App;
use crate::clock;
use crate::store::audit::{self, Entry, Trail};
use crate::store::tokens::{self, StoredToken};
use crate::tokens::TokenText;

/// Failed proofs that are answered in full, per minute; further ones are told to wait.
/// A token that holds is never counted and never waits.
const FAILURES_PER_MINUTE_MAX: u64 = 120;
/// Refusals that the audit log records, per minute; further ones are counted.
const RECORDED_PER_MINUTE_MAX: u64 = 30;
/// How long the body of a refused request is read to its end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// What the guards of one service share.
#[derive(Debug)]
pub struct Doors {
    /// Whether HTTP listens on a loopback address only.
    is_loopback: bool,
    failures: Mutex<PerMinute>,
    recorded: Mutex<PerMinute>,
}

impl Doors {
    /// The doors of a service whose HTTP listens on this address.
    pub fn of(address: IpAddr) -> Doors {
        Doors {
            is_loopback: address.is_loopback(),
            failures: Mutex::default(),
            recorded: Mutex::default(),
        }
    }
}

/// Counts within the current minute.
#[derive(Debug, Default)]
struct PerMinute {
    minute: u64,
    count: u64,
}

impl PerMinute {
    /// Counts one; says how many there were in this minute, and in the one that ended
    /// with this call.
    fn count(this: &Mutex<PerMinute>, now_ms: u64) -> (u64, u64) {
        let mut this = this.lock().unwrap_or_else(PoisonError::into_inner);
        let (minute, mut ended) = (now_ms / 60_000, 0);
        if this.minute != minute {
            ended = this.count;
            *this = PerMinute { minute, count: 0 };
        }
        this.count = this.count.saturating_add(1);
        (this.count, ended)
    }
}

/// The guard of one route.
#[derive(Clone)]
pub(super) struct Guard {
    app: Arc<App>,
    needs: Needs,
    method: &'static str,
    path: &'static str,
}

impl Guard {
    pub(super) fn new(app: &Arc<App>, route: &Route) -> Guard {
        Guard { app: Arc::clone(app), needs: route.needs, method: route.method, path: route.path }
    }

    fn place(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Who calls, if that one may.
    async fn admit(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        names: PathNames<'_>,
    ) -> Result<Actor, Refused> {
        let given = bearer(headers);
        let (any, token) = self
            .app
            .store
            .read(move |db| {
                let token = given.map(|text| crate::tokens::known(db, &text)).transpose()?;
                Ok::<_, Refusal>((tokens::any(db)?, token.flatten()))
            })
            .await
            .map_err(|refusal| Refused { refusal, actor: Actor::Anonymous })?;
        if !any && self.app.doors.is_loopback {
            let refused = |refusal| Refused { refusal, actor: Actor::Anonymous };
            return check_local(headers, uri).map(|()| Actor::Local).map_err(refused);
        }
        let actor = token.as_ref().map_or(Actor::Anonymous, actor_of);
        let grant = token.map(|token| token.grant);
        match access::decide(grant.as_ref(), self.needs, names, clock::now_ms()) {
            Ok(()) => Ok(actor),
            Err(error) => Err(Refused { refusal: error.into(), actor }),
        }
    }

    /// Records a refusal and makes the answer to it.
    async fn refuse(&self, refused: Refused) -> Response {
        let Refused { refusal, actor } = refused;
        let now_ms = clock::now_ms();
        let is_proof = refusal.reason == Reason::Unauthenticated;
        if !is_proof && refusal.reason != Reason::Forbidden {
            return Problem::new(refusal).into_response();
        }
        let (count, ended) = PerMinute::count(&self.app.doors.recorded, now_ms);
        if count <= RECORDED_PER_MINUTE_MAX {
            let mut entry = Entry::new(actor, "access.refuse", self.place())
                .with("reason", refusal.reason.code());
            if let Some(unrecorded) = ended.checked_sub(RECORDED_PER_MINUTE_MAX).filter(|n| *n > 0)
            {
                entry = entry.with("unrecorded_before", unrecorded);
            }
            self.record(entry).await;
        }
        if is_proof
            && PerMinute::count(&self.app.doors.failures, now_ms).0 > FAILURES_PER_MINUTE_MAX
        {
            let problem = Problem::with(StatusCode::TOO_MANY_REQUESTS, refusal);
            let wait = [(header::RETRY_AFTER, HeaderValue::from_static("60"))];
            return (wait, problem).into_response();
        }
        Problem::new(refusal).into_response()
    }

    async fn record(&self, entry: Entry) {
        let append = move |db: &rusqlite::Connection| {
            Ok::<_, Refusal>(audit::append(db, clock::now_ms(), &entry)?)
        };
        if let Err(refusal) = self.app.store.write(append).await {
            tracing::error!(%refusal, "the audit log could not be written");
        }
    }
}

struct Refused {
    refusal: Refusal,
    actor: Actor,
}

fn actor_of(token: &StoredToken) -> Actor {
    Actor::Token { name: token.name.clone(), id: token.id.clone() }
}

/// Lets a request through to its handler, or answers it.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let params = match RawPathParams::from_request_parts(&mut parts, &()).await {
        Ok(params) => params,
        Err(error) => {
            let refusal = Refusal::new(Reason::InvalidId, error.to_string());
            return Problem::new(refusal).into_response();
        }
    };
    let named = |name| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let names = PathNames { group: named("group"), device: named("device") };
    let actor = match guard.admit(&parts.headers, &parts.uri, names).await {
        Ok(actor) => actor,
        Err(refused) => {
            let answer = guard.refuse(refused).await;
            drain(body).await;
            return answer;
        }
    };
    let trail = Trail::default();
    parts.extensions.insert(Caller {
        actor: actor.clone(),
        trail: trail.clone(),
        is_anybody: guard.needs == Needs::Public,
    });
    let answer = next.run(Request::from_parts(parts, body)).await;
    // What changes something records it in its own transaction. One that did not is
    // recorded here: a gap in a handler is none in the log.
    if guard.method != "GET" && answer.status().is_success() && !trail.is_recorded() {
        guard.record(Entry::new(actor, "request.succeed", guard.place())).await;
    }
    answer
}

/// Reads a body and throws it away: a client that is cut off while it still writes
/// never hears why.
async fn drain(mut body: Body) {
    let mut left = MODULE_BYTES_MAX;
    let read = async {
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let bytes = frame.data_ref().map_or(0, |data| data.len());
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Past the deadline the client is cut off after all.
    tokio::time::timeout(DRAIN_DEADLINE, read).await.unwrap_or_default();
}

fn bearer(headers: &HeaderMap) -> Option<TokenText> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, text) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| TokenText::new(text))
}

/// Whether a request that needs no proof comes from a program on this machine: not from
/// a page of another origin, and not by a foreign name that was made to lead here.
fn check_local(headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let refused = |detail: &str| Err(Refusal::new(Reason::Forbidden, detail));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = uri.authority().map(|authority| authority.as_str()).or(host) else {
        return refused("the request has no Host header");
    };
    if !is_loopback_host(host) {
        return refused(
            "while no token exists, only this machine's own names are answered \
             (localhost, 127.0.0.1, [::1]); make a token with `gnomon token create`",
        );
    }
    // Whoever is behind a proxy is not on this machine.
    let forwarded = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
    if forwarded.iter().any(|name| headers.contains_key(*name)) {
        return refused(
            "while no token exists, what a proxy forwards is not answered; make a token with \
             `gnomon token create`",
        );
    }
    let is_own = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        origin.is_some_and(|(scheme, place)| matches!(scheme, "http" | "https") && place == host)
    };
    if !headers.get_all(header::ORIGIN).iter().all(is_own) {
        return refused(
            "while no token exists, pages of other origins are not answered; make a token \
             with `gnomon token create`",
        );
    }
    Ok(())
}

fn is_loopback_host(host: &str) -> bool {
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host();
    // Nothing but a port stands beside the name.
    let is_plain = host.strip_prefix(name).is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
    });
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_address = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_plain && (is_address || name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it fails")]
    use super::*;

    #[test]
    fn only_this_machines_own_names_are_local() {
        for host in ["localhost", "LOCALHOST:8480", "127.0.0.1:1", "127.9.9.9", "[::1]:8480"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "localhost@example.com",
            "example.com@localhost",
            "127.0.0.1:80.example.com",
            "127.0.0.1:",
            "[fe80::1]",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn a_minute_counts_by_itself_and_tells_what_the_last_one_had() {
        let counter = Mutex::default();
        let count = |now_ms| PerMinute::count(&counter, now_ms);
        assert_eq!((count(1), count(59_999), count(60_000)), ((1, 0), (2, 0), (1, 2)));
        // A clock that is set back starts a minute of its own.
        assert_eq!(count(5), (1, 1));
    }
}
