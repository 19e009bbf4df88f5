//! `train --serve`: a run is watched, saved and stopped over HTTP, and trains as if nobody looked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use gauntlet::checkpoint::Checkpoint;
use serde_json::Value as Json;

use super::{Dir, assert_same_end, peaceful};
use crate::checkpoint::guide::commands;

/// A run that serves, with what it writes to standard error.
struct Served {
    child: Child,
    address: String,
    told: Receiver<String>,
}

struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

impl Served {
    fn start(dir: &Dir, args: &[&str]) -> Self {
        let args = [&["--serve", "127.0.0.1:0"][..], args].concat();
        let mut child = dir
            .command(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("train starts");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .all(|line| tell.send(line).is_ok())
        });
        let mut run = Self {
            child,
            address: String::new(),
            told,
        };
        let line = run.told_of("http://");
        run.address = line
            .split("http://")
            .nth(1)
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        run
    }

    /// The next line with these words.
    fn told_of(&self, words: &str) -> String {
        let lines = std::iter::from_fn(|| self.told.recv_timeout(Duration::from_secs(120)).ok());
        let mut all = Vec::new();
        for line in lines {
            if line.contains(words) {
                return line;
            }
            all.push(line);
        }
        panic!("{words:?} not in {}", all.join("\n"));
    }

    /// Sends bytes as they are; none where the connection ended without an answer.
    fn send(&self, request: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        // The server may answer, and close, before it has read everything.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Answer {
            code: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        })
    }

    fn ask(&self, method: &str, path: &str) -> Option<Answer> {
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.address
        ))
    }

    /// The status once it is as wanted.
    fn until(&self, wanted: impl Fn(&Json) -> bool) -> Json {
        let started = Instant::now();
        loop {
            let status = self.ask("GET", "/status").expect("it is up").json();
            if wanted(&status) {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(120), "{status:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_run_that_is_watched_and_saved_ends_with_the_same_bytes() {
    let dir = Dir::new();
    let mut run = Served::start(&dir, &[]);
    let status = run.until(|status| status["step"].as_u64() > Some(0));
    assert_eq!(
        (
            &status["run"],
            &status["steps_planned"],
            &status["stopping"]
        ),
        (&"test".into(), &187.into(), &false.into())
    );
    assert!(
        status["metrics"]["run/generator_loss"].is_f64(),
        "{status:#}"
    );

    let saved = run
        .ask("POST", "/checkpoints/before-lunch?wait=60")
        .unwrap();
    assert_eq!(saved.code, 201, "{}", saved.body);
    let path = saved.json()["path"].as_str().unwrap().to_owned();
    assert!(Checkpoint::open(path.as_ref()).unwrap().verify().is_empty());
    let again = run.ask("POST", "/checkpoints/before-lunch").unwrap();
    assert_eq!(again.code, 409, "{}", again.body);
    assert!(again.body.contains("exists already"), "{}", again.body);

    // As hard as one can look, until it ends.
    let (mut phases, mut saving, mut newest) = (Vec::new(), false, Json::Null);
    while let Some(answer) = run.ask("GET", "/status") {
        let status = answer.json();
        if phases.last() != Some(&status["phase"]) {
            phases.push(status["phase"].clone());
        }
        saving |= status["saving"] != serde_json::json!([]);
        newest = status["newest_checkpoint"].clone();
        for path in ["/", "/metrics", "/checkpoints", "/progress.svg"] {
            run.ask("GET", path);
        }
    }
    assert!(run.child.wait().unwrap().success());
    for phase in ["warm-up of the discriminator", "stage 5: Executable Python"] {
        assert!(phases.contains(&phase.into()), "{phase} in {phases:?}");
    }
    assert!(saving && newest.is_string(), "{newest}");
    assert_same_end(&peaceful(), &dir.runs()[0], "watched");
}

#[test]
fn a_run_is_shown_refuses_other_sites_and_stops_on_request() {
    let dir = Dir::new();
    let mut run = Served::start(&dir, &["--set", "warmup.generator_steps=100000"]);
    run.until(|status| status["step"].as_u64() > Some(0));
    let get = |path| run.ask("GET", path).unwrap();
    let page = get("/");
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'")
    );
    for part in [
        "<h1>test</h1>",
        "warm-up of the generator: step ",
        "http-equiv=\"refresh\"",
    ] {
        assert!(page.body.contains(part), "{part} not in {}", page.body);
    }
    let metrics = get("/metrics");
    assert!(
        metrics
            .head
            .contains("content-type: text/plain; version=0.0.4")
    );
    for line in metrics.body.lines() {
        let sample = line.split_once("{run=\"test\"} ");
        let value =
            sample.map(|(name, value)| (name.starts_with("gauntlet_"), value.parse::<f64>()));
        assert!(
            line.starts_with("# TYPE gauntlet_") || matches!(value, Some((true, Ok(_)))),
            "{line}"
        );
    }
    assert!(
        metrics
            .body
            .contains("\ngauntlet_steps_planned{run=\"test\"} 100037\n")
    );
    assert_eq!(get("/nothing").code, 404);
    assert_eq!(get("/stop").code, 405);
    let (status, listed) = (get("/status").json(), get("/checkpoints").json());
    assert_eq!(listed[0]["run"], status["directory"]);

    // What another site can have a browser send, and what is too long.
    let own = &run.address;
    let post = |path: &str, headers: &str, body: &str| {
        let length = body.len();
        let request =
            format!("POST {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        run.send(&request).unwrap()
    };
    for headers in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{}\r\n", own.rsplit(':').next().unwrap()),
        format!("Host: {own}\r\nOrigin: http://evil.example\r\n"),
        format!("Host: {own}\r\nOrigin: null\r\n"),
        String::new(),
    ] {
        for path in ["/stop", "/checkpoints/theirs"] {
            let code = post(path, &headers, "").code;
            assert!([400, 403].contains(&code), "{headers:?}: {code}");
        }
    }
    let rebound = run
        .send("GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .unwrap();
    assert!(rebound.code == 403 && !rebound.body.contains("steps_planned"));
    let host = format!("Host: {own}\r\n");
    assert_eq!(post("/stop", &host, &"x".repeat(1 << 20)).code, 413);
    let long = format!("{host}X: {}\r\n", "x".repeat(1 << 20));
    assert!(
        run.send(&format!("POST /stop HTTP/1.1\r\n{long}\r\n"))
            .is_none_or(|a| a.code == 431)
    );
    for name in [
        "best",
        "stage_1",
        "a%20b",
        "..",
        "../../x",
        "",
        "/etc/passwd",
    ] {
        let answer = post(&format!("/checkpoints/{name}"), &host, "");
        assert_eq!(answer.code, 400, "{name}: {}", answer.body);
        assert!(answer.json()["error"].is_string(), "{name}");
    }
    assert_eq!(post("/checkpoints/x?wait=never", &host, "").code, 400);

    // Nothing of it was heeded.
    let status = run.until(|now| now["step"].as_u64() > status["step"].as_u64());
    assert_eq!(status["stopping"], false);
    assert!(!dir.runs()[0].join("checkpoints/theirs").exists());

    let own_origin = format!("{host}Origin: http://{own}\r\n");
    assert_eq!(post("/stop", &own_origin, "").code, 202);
    run.told_of("go on with: ");
    assert_eq!(run.child.wait().unwrap().code(), Some(130));
    let left = std::fs::read_dir(dir.runs()[0].join("checkpoints")).unwrap();
    let emergency = left.flatten().map(|entry| entry.file_name());
    assert_eq!(
        emergency
            .filter(|name| name.to_string_lossy().starts_with("emergency_step_"))
            .count(),
        1
    );
}

#[test]
fn an_address_that_cannot_be_had_is_told_before_any_work() {
    let dir = Dir::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (address, part) in [
        (port.as_str(), "in use"),
        ("127.0.0.1", "expected HOST:PORT"),
        ("127.0.0.1:99999", "expected HOST:PORT"),
    ] {
        let output = dir.train(&["--serve", address]);
        let message = super::text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{address}: {message}");
        assert!(
            message.contains(part) && message.contains(address),
            "{message}"
        );
    }
    assert!(!Path::new(&dir.path("out")).exists());
}

#[test]
fn every_request_of_the_guide_is_answered() {
    let dir = Dir::new();
    let mut run = Served::start(&dir, &["--set", "warmup.generator_steps=100000"]);
    run.until(|status| status["step"].as_u64() > Some(0));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checkpoints.md");
    let page = std::fs::read_to_string(page).unwrap();
    let commands = commands(&page, "sh http");
    assert!(commands.len() > 5, "{commands:?}");
    for line in commands {
        let own = line.replace("127.0.0.1:7878", &run.address);
        let words: Vec<&str> = own.split(' ').collect();
        let (post, url) = match words[..] {
            ["curl", url] => (false, url),
            ["curl", "-X", "POST", url] => (true, url),
            _ => panic!("{line}: no test knows how to send this"),
        };
        let path = url
            .trim_matches('\'')
            .strip_prefix(&format!("http://{}", run.address))
            .unwrap();
        let answer = run.ask(if post { "POST" } else { "GET" }, path).unwrap();
        let expected = match (post, path.contains("wait=")) {
            (false, _) => 200,
            (true, true) => 201,
            (true, false) => 202,
        };
        assert_eq!(answer.code, expected, "{line}: {}", answer.body);
    }
    assert_eq!(run.child.wait().unwrap().code(), Some(130));
    for name in ["before-dinner", "after-dinner"] {
        let path = dir.runs()[0].join("checkpoints").join(name);
        assert!(
            Checkpoint::open(&path).unwrap().verify().is_empty(),
            "{name}"
        );
    }
}
