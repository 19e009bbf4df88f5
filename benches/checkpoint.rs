//! Speed of saving and loading a gigabyte: `cargo bench --bench checkpoint -- DIR [ROUNDS]`, one JSON line a measurement.
//!
//! Each round writes, reads warm and reads cold, in turn with `dd`, `cat` and, where `GAUNTLET_TEST_PYTHON` has torch and
//! safetensors, `torch.save`, `torch.load` and safetensors on the same bytes in the same directory
//! (`benches/checkpoint.py`). Best and median are told, for a machine that others use too.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use gauntlet::checkpoint::{
    Checkpoint, CheckpointKind, Moments, OptimizerState, ParamGroup, PlayerState, SaveRequest,
    Store,
};
use serde_json::json;
use tch::{Device, Kind, Tensor};

/// Half a billion bfloat16 weights: a gigabyte.
const TENSORS: i64 = 50;
const NUMEL: i64 = 10_000_000;

/// Adapter weights of LoRA of rank 16 on every linear layer of a model of that size, about.
const ADAPTER: i64 = 9_000_000;

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let Some(dir) = args.first().map(Path::new) else {
        println!("usage: cargo bench --bench checkpoint -- DIR [ROUNDS]");
        return Ok(());
    };
    let rounds: usize = args.get(1).map_or(Ok(3), |n| n.parse())?;
    let dir = dir.join("gauntlet-bench");
    fs::create_dir_all(&dir)?;
    let result = measure(&dir, rounds);
    fs::remove_dir_all(&dir)?;
    result
}

fn measure(dir: &Path, rounds: usize) -> Result<()> {
    let weights: Vec<_> = (0..TENSORS)
        .map(|i| (format!("layer.{i}"), random(NUMEL, Kind::BFloat16)))
        .collect();
    let mut stalls = (Vec::new(), Vec::new());
    let mut writes = (Vec::new(), Vec::new());
    // Of each kind of load: warm, cold.
    let mut loads = [MAPPED, OWN].map(|kind| (kind, Vec::new(), Vec::new()));
    let mut plain = Vec::new();
    for round in 0..rounds {
        let store = Store::create(&dir.join(format!("run{round}")))?;
        let adapter = lora();
        stalls.1.push(timed(|| Ok(adapter.snapshot()?))?.1);
        let (job, stall) = timed(|| Ok(request("full", full(&weights)).snapshot()?))?;
        stalls.0.push(stall);
        let (saved, seconds) = timed(|| Ok(store.write(&job)?))?;
        drop(job);
        writes.0.push(seconds);
        let file = saved.path.join("generator.pt");
        let copy = dir.join("dd");
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", file.display()))
            .arg(format!("of={}", copy.display()))
            .args(["bs=16M", "conv=fsync", "status=none"]);
        writes.1.push(timed(|| run(&mut dd))?.1);
        // A virtual machine may have to ask for memory that nobody used yet, which takes longer than to read: what
        // this load leaves the next one finds, as the peers find what these have left.
        for ((_, load), warm, cold) in &mut loads {
            load(&saved.path)?;
            warm.push(timed(|| load(&saved.path))?.1);
            if drop_caches() {
                cold.push(timed(|| load(&saved.path))?.1);
            }
        }
        if drop_caches() {
            plain.push(timed(|| run(Command::new("cat").arg(&file)))?.1);
        }
        python(&file, dir)?;
        fs::remove_dir_all(dir.join(format!("run{round}")))?;
    }
    line("stall of a full bfloat16 model", &stalls.0);
    line("stall of its LoRA adapter with moments", &stalls.1);
    line("save", &writes.0);
    line("dd conv=fsync", &writes.1);
    for ((what, _), warm, cold) in &loads {
        line(&format!("{what}, warm, hashes checked"), warm);
        line(&format!("{what}, cold, hashes checked"), cold);
    }
    line("cat, cold", &plain);
    Ok(())
}

fn random(numel: i64, kind: Kind) -> Tensor {
    Tensor::randn([numel], (Kind::Float, Device::Cpu)).to_kind(kind)
}

fn full(weights: &[(String, Tensor)]) -> PlayerState {
    let weights = weights.iter().map(|(n, t)| (n.clone(), t.shallow_clone()));
    PlayerState {
        model_state_dict: weights.collect(),
        optimizer: None,
        stage_id: 5,
        metrics: json!({}),
        model_config: json!({}),
        lora_config: None,
    }
}

fn lora() -> SaveRequest {
    let weight = || random(ADAPTER, Kind::Float);
    let moments = Moments {
        name: "adapter".into(),
        step: 1,
        exp_avg: weight(),
        exp_avg_sq: weight(),
    };
    let group = ParamGroup {
        lr: 1e-4,
        betas: (0.9, 0.95),
        eps: 1e-8,
        weight_decay: 0.0,
        params: vec![moments],
    };
    let groups = vec![group];
    let player = PlayerState {
        optimizer: Some(OptimizerState { groups }),
        ..full(&[("adapter".into(), weight())])
    };
    request("lora", player)
}

fn request(name: &str, player: PlayerState) -> SaveRequest {
    SaveRequest {
        name: name.into(),
        kind: CheckpointKind::Full,
        stage: 5,
        step: 1,
        score: None,
        players: vec![("generator".into(), player)],
        metrics: json!({}),
        training_config: json!({}),
        trainer_state: json!({}),
        mistake_book: String::new(),
        own_chains: String::new(),
        tokenizer: "{}".into(),
        prompts: Vec::new(),
        parent: None,
        tags: Default::default(),
        set_best: false,
    }
}

type Load = (&'static str, fn(&Path) -> Result<()>);

/// What inference does.
const MAPPED: Load = ("load", |path| {
    whole(Checkpoint::open(path)?.generator()?.mapped_state_dict()?)
});

/// What training does, which will write to the weights.
const OWN: Load = ("load into memory of its own", |path| {
    whole(Checkpoint::open(path)?.generator()?.model_state_dict()?)
});

fn whole(state: Vec<(String, Tensor)>) -> Result<()> {
    ensure!(state.len() == TENSORS as usize);
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    command.stdout(std::process::Stdio::null());
    ensure!(command.status()?.success(), "{command:?} failed");
    Ok(())
}

/// Empties the page cache, where this process may.
fn drop_caches() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

fn python(file: &Path, dir: &Path) -> Result<()> {
    let Some(python) = std::env::var_os("GAUNTLET_TEST_PYTHON") else {
        return Ok(());
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/checkpoint.py");
    let status = Command::new(python).arg(script).arg(file).arg(dir).status();
    ensure!(status.context("cannot start Python")?.success());
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let begun = Instant::now();
    let made = work()?;
    Ok((made, begun.elapsed().as_secs_f64()))
}

fn line(what: &str, seconds: &[f64]) {
    let mut seconds = seconds.to_vec();
    seconds.sort_by(f64::total_cmp);
    let (Some(best), Some(median)) = (seconds.first(), seconds.get(seconds.len() / 2)) else {
        return;
    };
    println!(
        "{}",
        json!({"what": what, "unit": "s", "best": best, "median": median, "n": seconds.len()})
    );
}
