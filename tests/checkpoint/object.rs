//! Checkpoints in object stores: in memory, in a directory, and behind a server that speaks S3.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gauntlet::checkpoint::{
    Checkpoint, CheckpointError, ObjectStorage, Retention, Runs, Storage, Store, Strategy, transfer,
};
use object_store::memory::InMemory;

use super::command::stdout;
use super::s3::S3Server;
use super::{assert_same, request};

const RUN: &str = "s3://bucket/runs/tiny/20251122_095803";

/// A bucket in memory, and a store in it.
fn bucket() -> (Arc<ObjectStorage>, Store) {
    let storage = Arc::new(ObjectStorage::over(
        Arc::new(InMemory::new()),
        "s3://bucket",
    ));
    let store = Store::create_on(Arc::clone(&storage) as _, Path::new(RUN)).unwrap();
    (storage, store)
}

fn names(store: &Store) -> Vec<String> {
    let listed = store.list().unwrap().into_iter();
    listed.map(|item| item.name).collect()
}

#[test]
fn a_bucket_holds_checkpoints_like_a_directory() {
    let (storage, store) = bucket();
    let mut first = request("stage_0", 5, Some(0.5));
    first.set_best = true;
    store.save(first).unwrap();
    for step in [10, 20, 30] {
        let name = format!("step_{step:06}");
        store.save(request(&name, step, None)).unwrap();
    }
    let again = store.save(request("stage_0", 5, None)).unwrap_err();
    assert!(matches!(again, CheckpointError::Exists { .. }), "{again}");

    let best = storage
        .read(&store.dir().join("best.json"), 1 << 10)
        .unwrap();
    let best: serde_json::Value = serde_json::from_slice(&best).unwrap();
    let manifest = storage.read(&store.dir().join("stage_0/manifest.json"), 1 << 20);
    let hash = blake3::hash(&manifest.unwrap()).to_hex().to_string();
    assert_eq!(
        (&best["name"], &best["manifest"]),
        (&"stage_0".into(), &hash.into())
    );

    let listed = store.list().unwrap();
    assert!(listed.iter().all(|item| item.manifest.is_ok()));
    assert!(listed[0].best && listed[3].latest);
    let retention = Retention::new(Strategy::LastN, 1).unwrap();
    let mut deleted = store.retain(&retention, &[]).unwrap();
    deleted.sort();
    assert_eq!(deleted, ["step_000010", "step_000020"]);
    assert_eq!(names(&store), ["stage_0", "step_000030"]);
    assert!(store.leftovers().unwrap().is_empty());
}

#[test]
fn what_has_no_manifest_is_no_checkpoint_and_is_replaced() {
    let (storage, store) = bucket();
    let place = store.dir().join("stage_1");
    let mut file = storage.create_file(&place.join("generator.pt")).unwrap();
    std::io::Write::write_all(&mut file, b"half").unwrap();
    file.sync().unwrap();
    assert!(names(&store).is_empty(), "an upload under way");
    assert_eq!(store.leftovers().unwrap(), std::slice::from_ref(&place));

    store.save(request("stage_1", 5, None)).unwrap();
    assert_eq!(names(&store), ["stage_1"]);
    assert!(store.leftovers().unwrap().is_empty());
    assert!(
        storage
            .read(&place.join("generator.pt"), 1 << 20)
            .unwrap()
            .len()
            > 4
    );

    // Given up before it was complete, an object does not appear.
    let file = storage.create_file(&place.join("more")).unwrap();
    drop(file);
    assert!(storage.kind(&place.join("more")).is_err());
}

#[test]
fn a_directory_behind_a_url_takes_backups_and_gives_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("outputs/tiny/20251122_095803");
    let store = Store::create(&run).unwrap();
    store.save(request("stage_0", 5, Some(0.5))).unwrap();
    let best = store.save(request("final", 9, Some(0.75))).unwrap();
    store.set_best("final").unwrap();
    fs::write(run.join("metrics.jsonl"), "{}\n").unwrap();
    drop(store);

    let safe = PathBuf::from(format!("file://{}", dir.path().join("safe").display()));
    fs::create_dir(dir.path().join("safe")).unwrap();
    let done = transfer(std::slice::from_ref(&run), None, &safe).unwrap();
    assert_eq!((done.copied.len(), done.skipped.len()), (2, 0));
    let done = transfer(&[run], None, &safe).unwrap();
    assert_eq!((done.copied.len(), done.present.len()), (0, 2));

    let found = Runs::new(&safe).find("best", None).unwrap();
    assert_eq!(found.manifest().name, "final");
    assert_eq!(found.manifest_hash(), best.manifest_hash);
    let there = transfer(
        &Runs::new(&safe).list(None).unwrap(),
        None,
        &dir.path().join("back"),
    )
    .unwrap();
    assert_eq!(there.copied.len(), 2);
    let back = Checkpoint::open(
        &dir.path()
            .join("back/tiny/20251122_095803/checkpoints/best"),
    )
    .unwrap();
    assert_eq!(back.manifest_hash(), best.manifest_hash);
    assert!(back.verify().is_empty());
    let log = dir.path().join("back/tiny/20251122_095803/metrics.jsonl");
    assert_eq!(fs::read_to_string(log).unwrap(), "{}\n");
}

/// Two programs' worth of folders: outputs and a cache.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn run(&self) -> PathBuf {
        self.0.path().join("outputs/tiny/20251122_095803")
    }

    fn checkpoints(&self, server: &S3Server, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
        command.args(args).current_dir(&self.0);
        server
            .open_to(&mut command, &self.0.path().join("cache"))
            .output()
            .unwrap()
    }
}

/// A machine with a run of three checkpoints, each with a player of `size` weights more.
fn trained(size: i64) -> Machine {
    let machine = Machine::new();
    let store = Store::create(&machine.run()).unwrap();
    for (name, step) in [("stage_0", 5), ("step_000010", 10), ("final", 15)] {
        let mut request = request(name, step, Some(step as f64));
        let weight = tch::Tensor::randn([size], (tch::Kind::Float, tch::Device::Cpu));
        let player = &mut request.players[0].1;
        player.optimizer = None;
        player
            .model_state_dict
            .push(("large.weight".into(), weight));
        store.save(request).unwrap();
    }
    machine
}

#[test]
fn commands_work_on_a_bucket_behind_s3() {
    let server = S3Server::start();
    let machine = trained(1000);
    let at = "s3://bucket/safe";
    stdout(&machine.checkpoints(&server, &["backup", at, "--all"]), 0);

    // Another machine knows only the URL.
    let other = Machine::new();
    let text = stdout(&other.checkpoints(&server, &["list", "--outputs", at]), 0);
    assert!(
        text.contains("stage_0") && text.contains("latest"),
        "{text}"
    );
    let url = format!("{at}/tiny/20251122_095803/checkpoints/latest");
    let text = stdout(&other.checkpoints(&server, &["verify", &url]), 0);
    assert!(text.contains("final"), "{text}");
    stdout(
        &other.checkpoints(&server, &["inspect", "step:10", "--outputs", at]),
        0,
    );
    stdout(&other.checkpoints(&server, &["du", "--outputs", at]), 0);
    stdout(&other.checkpoints(&server, &["restore", at]), 0);
    let open = |machine: &Machine| {
        let run = Store::open(&machine.run()).unwrap();
        let player = run.load("final").unwrap().generator().unwrap();
        player.model_state_dict().unwrap()
    };
    for ((name, a), (_, b)) in open(&machine).iter().zip(open(&other)) {
        assert_same(name, a, &b);
    }

    // A flipped bit in the bucket is named, and what was fetched before does not hide it.
    let object = server.file("safe/tiny/20251122_095803/checkpoints/final/generator.pt");
    let mut bytes = fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&object, bytes).unwrap();
    let text = stdout(&other.checkpoints(&server, &["verify", &url]), 1);
    assert!(text.contains("generator.pt"), "{text}");
    let runs = other.checkpoints(
        &server,
        &["prune", "--outputs", at, "--keep-last", "1", "--yes"],
    );
    stdout(&runs, 0);
}

#[test]
fn an_encrypted_server_is_trusted_by_the_certificate_that_one_names() {
    let server = S3Server::start_encrypted();
    let machine = trained(1000);
    let at = "s3://bucket/safe";
    stdout(&machine.checkpoints(&server, &["backup", at, "--all"]), 0);
    let other = Machine::new();
    stdout(&other.checkpoints(&server, &["restore", at]), 0);
    assert_eq!(Store::open(&other.run()).unwrap().list().unwrap().len(), 3);

    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
    command.args(["list", "--all", "--outputs", at]);
    server.open_to(&mut command, machine.0.path());
    let output = command.env_remove("SSL_CERT_FILE").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && text.contains("certificate"),
        "{text}"
    );
}

#[test]
fn throttling_timeouts_and_broken_connections_are_survived() {
    let server = S3Server::start();
    // Two machine words short of three pieces of a download, so that one of them is not full.
    let machine = trained(1 << 21);
    server.faults.throttle.store(5, Ordering::Relaxed);
    server.faults.cut.store(3, Ordering::Relaxed);
    server.faults.hang.store(41, Ordering::Relaxed);
    let at = "s3://bucket/safe";
    let other = Machine::new();
    stdout(&machine.checkpoints(&server, &["backup", at, "--all"]), 0);
    stdout(&other.checkpoints(&server, &["restore", at]), 0);
    assert!(server.faults.struck.load(Ordering::Relaxed) > 10);
    let listed = Store::open(&other.run()).unwrap().list().unwrap();
    assert_eq!(listed.len(), 3);
    for item in listed {
        assert!(Checkpoint::open(&item.path).unwrap().verify().is_empty());
    }
}

#[test]
fn what_stands_in_the_way_is_named() {
    let server = S3Server::start();
    let machine = trained(10);
    let stderr = |at: &str, code: i32| {
        let output = machine.checkpoints(&server, &["backup", at, "--all"]);
        assert_eq!(output.status.code(), Some(code));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = stderr("ftp://host/x", 1);
    assert!(text.contains("expected s3://, gs://, az://"), "{text}");
    let text = stderr("s3://nowhere/x", 1);
    assert!(
        text.contains("s3://nowhere/x") && text.contains("NoSuchBucket"),
        "{text}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoints"));
    command.args(["list", "--all", "--outputs", "s3://bucket/x"]);
    server.open_to(&mut command, machine.0.path());
    let output = command
        .env("AWS_SECRET_ACCESS_KEY", "wrong")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && text.contains("SignatureDoesNotMatch"),
        "{text}"
    );
}
