//! Python's torch opens our files, its AdamW goes on from our state, and we read what it writes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use gauntlet::checkpoint::pt::PtFile;
use gauntlet::checkpoint::{PlayerFile, Store};
use tch::{Device, Kind, Tensor};

use super::{assert_same, player, request};

/// How to start a Python that can import torch.
#[derive(Clone)]
pub(super) struct Python {
    executable: PathBuf,
    path: Option<PathBuf>,
}

impl Python {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(["-W", "ignore"]);
        if let Some(path) = &self.path {
            command.env("PYTHONPATH", path);
        }
        command
    }

    fn imports_torch(self) -> Option<Self> {
        let output = self.command().args(["-c", "import torch"]).output().ok()?;
        output.status.success().then_some(self)
    }

    /// Runs a script; gives what it prints.
    pub(super) fn run(&self, script: &str, args: &[&Path]) -> String {
        let output = self
            .command()
            .args(["-c", script])
            .args(args)
            .output()
            .unwrap();
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{stdout}\n{stderr}");
        stdout.into_owned()
    }
}

/// Finds a Python with torch, or says why there is none: `GAUNTLET_TEST_PYTHON`, else `python3`
/// if it has torch, else `python3` with what is made of the torch wheel in the user's cache.
pub(super) fn python_with_torch() -> Option<Python> {
    static FOUND: OnceLock<Result<Python, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        if let Some(executable) = std::env::var_os("GAUNTLET_TEST_PYTHON") {
            let python = Python {
                executable: executable.into(),
                path: None,
            };
            return Ok(python
                .imports_torch()
                .expect("GAUNTLET_TEST_PYTHON cannot import torch"));
        }
        let plain = Python {
            executable: "python3".into(),
            path: None,
        };
        plain.imports_torch().map_or_else(from_cache, Ok)
    });
    if let Err(reason) = found {
        println!("skipped: {reason}; set GAUNTLET_TEST_PYTHON to a Python that has torch");
    }
    found.clone().ok()
}

fn from_cache() -> Result<Python, String> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("GAUNTLET_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("gauntlet")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/gauntlet")))
        .ok_or("there is no cache folder")?;
    let made = cache.join("python-torch");
    let python = Python {
        executable: "python3".into(),
        path: Some(made.clone()),
    };
    if let Some(python) = python.clone().imports_torch() {
        return Ok(python);
    }
    let downloads = cache.join("downloads");
    let wheel = std::fs::read_dir(&downloads)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("torch-") && name.ends_with(".whl")
        })
        .ok_or_else(|| {
            format!(
                "python3 cannot import torch, and no torch wheel is in {}",
                downloads.display()
            )
        })?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoint/torch_from_wheel.py");
    let _ = std::fs::remove_dir_all(&made);
    let output = Command::new("python3")
        .arg(script)
        .arg(wheel)
        .arg(&made)
        .output();
    let output = output.map_err(|e| format!("python3 does not start: {e}"))?;
    match output.status.success() {
        true => Ok(python),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

const CONTINUE: &str = r#"
import sys, torch
path, out = sys.argv[1:]
state = torch.load(path, weights_only=True)
keys = ["model_state_dict", "optimizer_state_dict", "stage_id", "metrics", "model_config", "lora_config", "format_version"]
assert list(state) == keys, list(state)
assert state["stage_id"] == 3 and state["format_version"] == 1 and state["lora_config"] is None
assert state["metrics"] == {"avg_reward": 0.25, "episodes": 12}, state["metrics"]
assert state["model_config"]["tie_word_embeddings"] is True

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(4, 3)
        self.norm = torch.nn.LayerNorm(3, bias=False)

outer = torch.nn.Module()
outer.model = Model()
outer.load_state_dict(state["model_state_dict"])
named = [(n, p) for n, p in outer.named_parameters()]
assert [n for n, _ in named] == list(state["model_state_dict"])
expected = torch.arange(12).float() * 0.1 + 5
assert torch.equal(named[0][1].detach().flatten(), expected)

optimizer = torch.optim.AdamW(named, lr=123.0)
optimizer.load_state_dict(state["optimizer_state_dict"])
group = optimizer.param_groups[0]
lr, (b1, b2), eps, decay = group["lr"], group["betas"], group["eps"], group["weight_decay"]
assert (lr, b1, b2, eps, decay) == (1e-3, 0.9, 0.95, 1e-8, 0.1)
before = [p.detach().clone() for _, p in named]
moments = torch.load(path, weights_only=True)["optimizer_state_dict"]["state"]
for _, p in named:
    p.grad = torch.full_like(p, 0.5)
optimizer.step()
for i, (_, p) in enumerate(named):
    m = b1 * moments[i]["exp_avg"] + (1 - b1) * 0.5
    v = b2 * moments[i]["exp_avg_sq"] + (1 - b2) * 0.25
    t = 8
    w = before[i] * (1 - lr * decay) - lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps)
    assert torch.allclose(p, w, rtol=1e-6, atol=1e-7), (p, w)
    assert optimizer.state[p]["step"].item() == 8
state["model_state_dict"] = outer.state_dict()
state["optimizer_state_dict"] = optimizer.state_dict()
torch.save(state, out)
"#;

#[test]
fn torch_loads_ours_adamw_goes_on_and_we_read_its_result() {
    let Some(python) = python_with_torch() else {
        return;
    };
    let run = tempfile::tempdir().unwrap();
    let store = Store::create(run.path()).unwrap();
    let saved = store.save(request("stage_3", 5, None)).unwrap();
    let theirs = run.path().join("theirs.pt");
    python.run(CONTINUE, &[&saved.path.join("generator.pt"), &theirs]);

    let state = PlayerFile::open(&theirs).unwrap().state().unwrap();
    let ours = player(5);
    let group = &state.optimizer.as_ref().unwrap().groups[0];
    for (i, (name, before)) in ours.model_state_dict.iter().enumerate() {
        let (read, after) = &state.model_state_dict[i];
        assert_eq!(
            (read, &group.params[i].name, group.params[i].step),
            (name, name, 8)
        );
        let moved = (before - after).abs().max().double_value(&[]);
        assert!(moved > 1e-5 && moved < 1e-2, "{name} moved by {moved}");
    }
}

const WRITE: &str = r#"
import sys, collections, torch
kinds = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
base = torch.arange(24).reshape(4, 6)
tied = torch.arange(5.0)
model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
torch.save({
    "kinds": [(torch.arange(7) * 3).to(getattr(torch, kind)) for kind in kinds],
    "transposed": base.t(), "slice": base[1:3, 2:5], "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 3),
    "tied": [tied, tied, tied[1:3]],
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "model": model.state_dict(),
    "plain": (1, -300, 70000, 1 << 40, -(1 << 90), 0.5, "é", None, True, [], {}, {3: (4,)}),
    "again": collections.OrderedDict(a=kinds, b=kinds),
}, sys.argv[1])
"#;

#[test]
fn what_torch_saves_is_read_as_it_was() {
    let Some(python) = python_with_torch() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.pt");
    python.run(WRITE, &[&path]);
    let file = PtFile::open(&path).unwrap();
    let mut loader = file.loader();
    let root = file.root();

    let whole = Tensor::arange(7, (Kind::Int64, Device::Cpu)) * 3;
    for at in root.key("kinds").unwrap().elements().unwrap() {
        let tensor = loader.tensor(at.as_tensor().unwrap()).unwrap();
        assert_same("kinds", &tensor, &whole.to_kind(tensor.kind()));
    }
    let base = Tensor::arange(24, (Kind::Int64, Device::Cpu)).reshape([4, 6]);
    let mut tensor = |name: &str| {
        loader
            .tensor(root.key(name).unwrap().as_tensor().unwrap())
            .unwrap()
    };
    assert_same("transposed", &tensor("transposed"), &base.tr());
    assert_same(
        "slice",
        &tensor("slice"),
        &base.narrow(0, 1, 2).narrow(1, 2, 3),
    );
    assert_same("scalar", &tensor("scalar"), &Tensor::from(3.5f32));
    assert_same(
        "empty",
        &tensor("empty"),
        &Tensor::zeros([0, 3], (Kind::Float, Device::Cpu)),
    );
    assert_same(
        "parameter",
        &tensor("parameter"),
        &Tensor::ones([2], (Kind::Float, Device::Cpu)),
    );

    let tied: Vec<Tensor> = root
        .key("tied")
        .unwrap()
        .elements()
        .unwrap()
        .iter()
        .map(|at| loader.tensor(at.as_tensor().unwrap()).unwrap())
        .collect();
    let _ = tied[0].shallow_clone().fill_(7.0);
    assert_same(
        "a view of the tied",
        &tied[2],
        &Tensor::from_slice(&[7.0f32, 7.0]),
    );

    let names: Vec<&str> = root
        .key("model")
        .unwrap()
        .items()
        .unwrap()
        .iter()
        .map(|i| i.0)
        .collect();
    assert_eq!(names, ["0.weight", "0.bias", "1.weight", "1.bias"]);
    let plain = root.key("plain").unwrap().elements().unwrap();
    let numbers: Vec<i64> = plain[..4].iter().map(|at| at.as_i64().unwrap()).collect();
    assert_eq!(numbers, [1, -300, 70000, 1 << 40]);
    assert_eq!(
        format!("{:?}", plain[4].value()),
        format!("Int({})", -(1i128 << 90))
    );
    assert_eq!(plain[6].as_str().unwrap(), "é");
    assert_eq!(
        plain[11].int_key(3).unwrap().elements().unwrap()[0]
            .as_i64()
            .unwrap(),
        4
    );
    let again = root.key("again").unwrap();
    assert_eq!(
        again.key("a").unwrap().to_json(),
        again.key("b").unwrap().to_json()
    );
}

const WEIGHTS: &str = r#"
import sys, torch
for shape, tensor in zip([(0,), (3, 0, 2), (), (2, 3), (2, 2)], torch.load(sys.argv[1], weights_only=True)):
    assert tuple(tensor.shape) == shape and tensor.is_contiguous(), tensor
    print(tensor.dtype, tensor.flatten().tolist())
"#;

#[test]
fn torch_reads_our_empty_half_precision_and_transposed_tensors() {
    use gauntlet::checkpoint::pt::{HostTensor, PtValue, write_pt};
    let Some(python) = python_with_torch() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours.pt");
    let tensors = [
        Tensor::zeros([0], (Kind::Float, Device::Cpu)),
        Tensor::zeros([3, 0, 2], (Kind::Int64, Device::Cpu)),
        Tensor::from(true),
        Tensor::arange(6, (Kind::BFloat16, Device::Cpu))
            .reshape([3, 2])
            .tr(),
        Tensor::from_slice(&[-1i8, 2, -3, 4]).reshape([2, 2]),
    ];
    let items = tensors
        .iter()
        .map(|t| PtValue::Tensor(HostTensor::copy_of("t", t).unwrap()));
    let value = PtValue::List(items.collect());
    write_pt(&value, &mut std::fs::File::create(&path).unwrap()).unwrap();
    assert_eq!(
        python.run(WEIGHTS, &[&path]),
        "torch.float32 []\ntorch.int64 []\ntorch.bool [True]\n\
         torch.bfloat16 [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]\ntorch.int8 [-1, 2, -3, 4]\n"
    );
}
