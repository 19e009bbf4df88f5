//! Every request and its answer.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value as Json, json};

use super::guard::{self, Place};
use super::page::page;
use super::prometheus;
use super::status::{Shared, Status};
use crate::checkpoint::report::{Listing, Listings, Progress};
use crate::checkpoint::{
    CheckpointError, LATEST, Store, check_request, is_requested, link_target, request_save,
};

/// What a request may carry in its body, in bytes; nothing here needs one.
const LONGEST_BODY: usize = 4 << 10;

/// Time for a client to send it.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The longest `?wait=`, in seconds.
const LONGEST_WAIT: u64 = 3600;

/// Time between two looks for a checkpoint that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

type Answer = Response<Full<Bytes>>;

/// What requests are answered from.
pub(super) struct Desk {
    shared: Shared,
    place: Place,
    interrupted: Arc<AtomicBool>,
    /// The chart, and the length of the log that it was drawn from.
    chart: Mutex<Option<(u64, String)>>,
}

impl Desk {
    pub(super) fn new(shared: Shared, place: Place, interrupted: Arc<AtomicBool>) -> Self {
        Self {
            shared,
            place,
            interrupted,
            chart: Mutex::new(None),
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        if let Err(reason) = guard::check(&head.method, &head.uri, &head.headers, &self.place) {
            return error(StatusCode::FORBIDDEN, reason);
        }
        let body = Limited::new(body, LONGEST_BODY).collect();
        match tokio::time::timeout(BODY_TIME, body).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => {
                let reason = format!("a request has at most {LONGEST_BODY} bytes here");
                return error(StatusCode::PAYLOAD_TOO_LARGE, reason);
            }
            Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "the request did not end"),
        }
        let path = head.uri.path();
        let named = path.strip_prefix("/checkpoints/");
        let get = [Method::GET, Method::HEAD].contains(&head.method);
        match (path, named) {
            ("/", _) if get => self.page(),
            ("/progress.svg", _) if get => self.chart(),
            ("/status", _) if get => json_answer(StatusCode::OK, &self.status()),
            ("/metrics", _) if get => {
                let status = self.shared.lock().clone();
                let text = prometheus::exposition(&status, !self.saving(&status).is_empty());
                answer(StatusCode::OK, prometheus::CONTENT_TYPE, text)
            }
            ("/checkpoints", _) if get => self.checkpoints(),
            ("/stop", _) if head.method == Method::POST => self.stop(),
            (_, Some(name)) if head.method == Method::POST => {
                self.save(name, head.uri.query()).await
            }
            ("/" | "/progress.svg" | "/status" | "/metrics" | "/checkpoints", _) => {
                not_allowed("GET, HEAD")
            }
            ("/stop", _) | (_, Some(_)) => not_allowed("POST"),
            _ => error(
                StatusCode::NOT_FOUND,
                format!(
                    "{path} is nothing here; there are /, /status, /metrics, /checkpoints, /checkpoints/NAME and /stop"
                ),
            ),
        }
    }

    fn status(&self) -> Json {
        let status = self.shared.lock().clone();
        let newest = status.checkpoints.as_deref().and_then(newest);
        let saving = self.saving(&status);
        let mut json = serde_json::to_value(&status).expect("plain data serialises");
        json["newest_checkpoint"] = json!(newest);
        json["saving"] = json!(saving);
        json["stopping"] = json!(self.interrupted.load(Ordering::Relaxed));
        json
    }

    /// Names of the checkpoints that are being written.
    fn saving(&self, status: &Status) -> Vec<String> {
        let dir = status.checkpoints.as_deref();
        let store = dir.and_then(|dir| Store::open(dir).ok());
        let names = store.and_then(|store| store.being_written().ok());
        names.unwrap_or_default()
    }

    fn page(&self) -> Answer {
        let status = self.shared.lock().clone();
        let stopping = self.interrupted.load(Ordering::Relaxed);
        let text = page(&status, listing(&status).ok().as_ref(), stopping);
        answer(StatusCode::OK, "text/html; charset=utf-8", text)
    }

    /// The chart of `checkpoints plot`, drawn again when the log has grown.
    fn chart(&self) -> Answer {
        const SVG: &str = "image/svg+xml";
        let Some(run) = self.shared.lock().directory.clone() else {
            return preparing();
        };
        let length = std::fs::metadata(run.join("metrics.jsonl")).map_or(0, |file| file.len());
        let mut chart = self.chart.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, text)) = &*chart
            && *of == length
        {
            return answer(StatusCode::OK, SVG, text.clone());
        }
        let drawn = Progress::of(&[run]).map_err(|error| error.to_string());
        match drawn.and_then(|progress| progress.svg()) {
            Ok(text) => {
                *chart = Some((length, text.clone()));
                answer(StatusCode::OK, SVG, text)
            }
            Err(reason) => error(StatusCode::INTERNAL_SERVER_ERROR, reason),
        }
    }

    fn checkpoints(&self) -> Answer {
        let status = self.shared.lock().clone();
        if status.directory.is_none() {
            return preparing();
        }
        match listing(&status) {
            Ok(listing) => {
                let json = serde_json::to_value(Listings(vec![listing]));
                json_answer(StatusCode::OK, &json.expect("plain data serialises"))
            }
            Err(reason) => error(StatusCode::INTERNAL_SERVER_ERROR, reason.to_string()),
        }
    }

    fn stop(&self) -> Answer {
        if self.shared.lock().ended {
            return ended();
        }
        self.interrupted.store(true, Ordering::Relaxed);
        let then = "the run saves itself and ends after the present step";
        json_answer(
            StatusCode::ACCEPTED,
            &json!({"stopping": true, "then": then}),
        )
    }

    /// Asks for a checkpoint, and waits for it as long as `query` says.
    async fn save(&self, name: &str, query: Option<&str>) -> Answer {
        let wait = match wait_of(query) {
            Ok(wait) => wait,
            Err(reason) => return error(StatusCode::BAD_REQUEST, reason),
        };
        let path = match self.ask(name) {
            Ok(path) => path,
            Err(answer) => return *answer,
        };
        let deadline = Instant::now() + wait;
        loop {
            let said = json!({"checkpoint": name, "path": path.to_string_lossy()});
            // The directory has its name only once it is durable.
            if path.join(crate::checkpoint::MANIFEST).is_file() {
                return json_answer(StatusCode::CREATED, &said);
            }
            let (failed, over) = {
                let mut status = self.shared.lock();
                (status.failed.remove(name), status.ended)
            };
            if let Some(reason) = failed {
                return error(StatusCode::INTERNAL_SERVER_ERROR, reason);
            }
            if over {
                return ended();
            }
            if Instant::now() >= deadline {
                return json_answer(StatusCode::ACCEPTED, &said);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Leaves the request where the run looks after every step; gives where the checkpoint will lie.
    fn ask(&self, name: &str) -> Result<PathBuf, Box<Answer>> {
        let refuse = |code, reason: String| Err(Box::new(error(code, reason)));
        if let Err(error) = check_request(name) {
            return refuse(StatusCode::BAD_REQUEST, error.to_string());
        }
        // A copy: training must not wait for the disk.
        let status = self.shared.lock().clone();
        if status.ended {
            return Err(Box::new(ended()));
        }
        let (Some(run), Some(dir)) = (&status.directory, &status.checkpoints) else {
            return Err(Box::new(preparing()));
        };
        let path = dir.join(name);
        let pending = is_requested(run, name)
            || status.asked.contains(name)
            || self.saving(&status).iter().any(|other| other == name);
        if pending && !path.exists() {
            let reason = format!("{name} is asked for already, and saved after the present step");
            return refuse(StatusCode::CONFLICT, reason);
        }
        // Noted first, so that the run does not tell of it before.
        let note = |asked: bool| {
            let mut status = self.shared.lock();
            status.failed.remove(name);
            match asked {
                true => status.asked.insert(name.to_owned()),
                false => status.asked.remove(name),
            }
        };
        note(true);
        let Err(error) = request_save(run, name) else {
            return Ok(path);
        };
        note(false);
        let code = match error {
            CheckpointError::Exists { .. } => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        refuse(code, error.to_string())
    }
}

/// The name that `latest` stands for.
fn newest(checkpoints: &Path) -> Option<String> {
    link_target(checkpoints, LATEST)
}

fn listing(status: &Status) -> Result<Listing, CheckpointError> {
    let run = status.directory.clone().unwrap_or_default();
    let store = Store::open(status.checkpoints.as_deref().unwrap_or(&run))?;
    Listing::of(&run, &store)
}

/// The `wait` of a query, in seconds; none without one.
fn wait_of(query: Option<&str>) -> Result<Duration, String> {
    let mut wait = 0;
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|p| !p.is_empty())
    {
        let seconds = pair.strip_prefix("wait=").map(str::parse);
        wait = match seconds {
            Some(Ok(seconds)) if seconds <= LONGEST_WAIT => seconds,
            _ => {
                return Err(format!(
                    "{pair:?}: expected wait=SECONDS, at most {LONGEST_WAIT}"
                ));
            }
        };
    }
    Ok(Duration::from_secs(wait))
}

fn preparing() -> Answer {
    error(
        StatusCode::SERVICE_UNAVAILABLE,
        "the run is still being prepared",
    )
}

fn ended() -> Answer {
    error(StatusCode::SERVICE_UNAVAILABLE, "the run has ended")
}

fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = error(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("expected {methods}"),
    );
    let allow = HeaderValue::from_static(methods);
    answer.headers_mut().insert(ALLOW, allow);
    answer
}

fn error(code: StatusCode, reason: impl Into<String>) -> Answer {
    json_answer(code, &json!({"error": reason.into()}))
}

fn json_answer(code: StatusCode, json: &Json) -> Answer {
    answer(code, "application/json", format!("{json:#}\n"))
}

fn answer(code: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = code;
    // Nothing is loaded from elsewhere, nothing is run, and no other site shows or reads it.
    let policy = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; \
                  frame-ancestors 'none'; form-action 'none'; base-uri 'none'";
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in headers {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_whole_seconds_within_an_hour() {
        let seconds = |query| wait_of(query).map(|wait| wait.as_secs());
        assert_eq!(seconds(None), Ok(0));
        assert_eq!(seconds(Some("")), Ok(0));
        assert_eq!(seconds(Some("wait=30")), Ok(30));
        for wrong in ["wait=-1", "wait=1e9", "wait=3601", "wait", "what=3"] {
            assert!(seconds(Some(wrong)).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
