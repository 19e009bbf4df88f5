//! Transformers and PEFT themselves, where a Python that has them is found: `GAUNTLET_TEST_PYTHON`, else `python3`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use gauntlet::model::chat_template::Message;
use gauntlet::model::engine::Engine;
use gauntlet::model::fused::{FusedModel, Precision};
use gauntlet::model::{Pretrained, Transformer};
use serde_json::{Value as Json, json};
use tch::{Device, Kind, Tensor, no_grad};

use super::greedy;

/// A Python with transformers, or none and the reason printed once.
pub fn python() -> Option<&'static PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let name = std::env::var_os("GAUNTLET_TEST_PYTHON").unwrap_or_else(|| "python3".into());
            let tried = Command::new(&name)
                .args(["-c", "import torch, transformers, peft"])
                .output();
            if tried.is_ok_and(|output| output.status.success()) {
                return Some(name.into());
            }
            println!(
                "skipped: {} has no torch, transformers and peft; set GAUNTLET_TEST_PYTHON to one that has",
                name.to_string_lossy()
            );
            None
        })
        .as_ref()
}

/// What a Python program prints, as JSON.
pub fn run(python: &Path, args: &[&str]) -> Json {
    let output = Command::new(python)
        .args(["-W", "ignore"])
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn reference(model: &str, command: &[&str], given: &Json) -> Option<Json> {
    let folder = tempfile::tempdir().unwrap();
    reference_in(folder.path(), model, command, given)
}

fn reference_in(folder: &Path, model: &str, command: &[&str], given: &Json) -> Option<Json> {
    let python = python()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model/reference.py");
    let file = folder.join("given.json");
    std::fs::write(&file, given.to_string()).unwrap();
    let mut args = vec![
        script.to_str().unwrap(),
        model,
        command[0],
        file.to_str().unwrap(),
    ];
    args.extend(&command[1..]);
    Some(run(python, &args))
}

const WITH_PEFT: &str = "
import importlib.util, json, os, sys, torch, transformers, peft
gguf, merged, adapter, base, row = sys.argv[1:]
row = torch.tensor([json.loads(row)])
load = lambda path: transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
with torch.no_grad():
    merged = load(merged)
    whole = merged(row).logits[0]
    adapted = peft.PeftModel.from_pretrained(load(base), adapter).eval()(row).logits[0]
    logits = [whole, adapted]
    # Transformers reads no GGUF file of SmolLM3.
    if importlib.util.find_spec('gguf') and merged.config.model_type != 'smollm3':
        folder, file = os.path.split(gguf)
        # What transformers takes from the metadata lacks the width of heads and the factors of rotary scaling.
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, config=merged.config, dtype=torch.float32).eval()
        logits.append(model(row).logits[0])
print(json.dumps([one.double().tolist() for one in logits]))
";

/// Transformers on the merged folder and, with the gguf package, on the file's weights, and PEFT on the adapter, give the same logits
/// as we do.
pub fn check_exports(
    gguf: &Path,
    merged: &Path,
    adapter: &Path,
    base: &Path,
    row: &[i64],
    ours: &Tensor,
) {
    let Some(python) = python() else {
        return;
    };
    let text = serde_json::to_string(row).unwrap();
    let paths = [gguf, merged, adapter, base].map(|path| path.to_str().unwrap());
    let answer = run(
        python,
        &[&["-c", WITH_PEFT][..], &paths, &[&*text]].concat(),
    );
    for (name, theirs) in ["merged", "adapter", "gguf"]
        .into_iter()
        .zip(answer.as_array().unwrap())
    {
        let worst = distance(ours, theirs);
        assert!(worst < 1e-3, "{name}: {worst}");
    }
}

fn distance(ours: &Tensor, theirs: &Json) -> f64 {
    let rows: Vec<Vec<f64>> = serde_json::from_value(theirs.clone()).unwrap();
    let theirs = Tensor::stack(
        &rows
            .iter()
            .map(|r| Tensor::from_slice(r))
            .collect::<Vec<_>>(),
        0,
    );
    let ours = ours.squeeze_dim(0).to_kind(Kind::Double);
    (ours - theirs).abs().max().double_value(&[])
}

/// The models to compare on, as `GAUNTLET_TEST_MODELS` lists them with colons between: folders or GGUF files.
fn models() -> Vec<String> {
    let listed = std::env::var("GAUNTLET_TEST_MODELS").unwrap_or_default();
    let models: Vec<String> = listed
        .split(':')
        .filter(|m| !m.is_empty())
        .map(str::to_owned)
        .collect();
    if models.is_empty() {
        println!("skipped: GAUNTLET_TEST_MODELS lists no model");
    }
    models
}

/// Code, prose in several scripts, and what tokenizers stumble over.
fn lines() -> Vec<String> {
    let seeds = [
        "def f(xs: list[int]) -> int:\n    return sum(x ** 2 for x in xs if x % 3 == 0)",
        "for (size_t i = 0; i < n; ++i) { a[i] += b[i] * 0x1F; } // 12345.678e-9",
        "The quick brown fox isn't jumping; they've said it's fine, I'll see.",
        "Größe, naïve café, œuvre — «guillemets» … 100 % sûr",
        "Съешь ещё этих мягких французских булок, да выпей чаю",
        "日本語のテキストと漢字、そしてカタカナ。全角１２３",
        "中文文本:机器学习模型的分词器测试,数字2024年",
        "한국어 문장도 있습니다. 띄어쓰기 테스트",
        "نص عربي مع أرقام ١٢٣ وعلامات",
        "हिन्दी में एक वाक्य और संख्या ४५६",
        "emoji 👩‍👩‍👧‍👦 🇩🇪 ✅ and zero\u{200b}width\u{feff}",
        "\ttabs\t\tand   spaces  \n\n\n  newline runs\r\n  \u{a0}nbsp ",
        "<|im_start|>user<|im_end|> is text here, $x^{2}_{ij}$ \\begin{align}",
        "e\u{301}\u{327} combining, \u{fb01} ligature, Å \u{212b}",
    ];
    (0..10_000)
        .map(|i| {
            let (a, b) = (
                seeds[i % seeds.len()],
                seeds[(i / seeds.len()) % seeds.len()],
            );
            let cut = a.char_indices().nth(i % 37).map_or(a.len(), |(at, _)| at);
            format!("{}{b} {}{}", &a[cut..], i * 7919, &a[..cut])
        })
        .collect()
}

#[test]
fn token_ids_of_ten_thousand_lines_and_chat_texts_are_equal() {
    for name in models() {
        let model = Pretrained::open(&name).unwrap();
        let lines = lines();
        let Some(theirs) = reference(&name, &["tokens"], &json!(lines)) else {
            return;
        };
        for (line, theirs) in lines.iter().zip(theirs.as_array().unwrap()) {
            assert_eq!(
                json!(model.tokenizer.encode(line).unwrap()),
                *theirs,
                "{name}: {line:?}"
            );
        }
        let template = model
            .chat_template
            .as_ref()
            .expect("a model for conversations");
        let turns = ["Write a function.", "def f(): pass", "Now test it: {{ x }}"];
        let conversations: Vec<Vec<Message>> = (1..=3)
            .step_by(2)
            .map(|n| {
                let message = |i: usize| match i % 2 {
                    0 => Message::user(turns[i]),
                    _ => Message::assistant(turns[i]),
                };
                (0..n).map(message).collect()
            })
            .collect();
        let theirs = reference(&name, &["chat"], &json!(conversations)).unwrap();
        for (conversation, theirs) in conversations.iter().zip(theirs.as_array().unwrap()) {
            assert_eq!(
                template.render(conversation, true).unwrap(),
                theirs.as_str().unwrap(),
                "{name}"
            );
        }
    }
}

/// Their logits of all tokens of `rows` behind one another, `[T, V]`.
fn reference_logits(model: &str, dtype: &str, rows: &[Vec<u32>], vocab: i64) -> Option<Tensor> {
    let folder = tempfile::tempdir().unwrap();
    let answer = reference_in(folder.path(), model, &["logits", dtype], &json!(rows))?;
    let bytes = std::fs::read(answer.as_str().unwrap()).unwrap();
    let tokens = rows.iter().map(Vec::len).sum::<usize>() as i64;
    Some(Tensor::from_data_size(
        &bytes,
        &[tokens, vocab],
        Kind::Float,
    ))
}

fn our_logits(pretrained: &Pretrained, kind: Kind, rows: &[Vec<u32>]) -> Tensor {
    let weights = pretrained.weights(kind).unwrap();
    let model = Transformer::frozen(&pretrained.config, weights, Device::Cpu);
    let logits = rows.iter().map(|row| {
        let ids: Vec<i64> = row.iter().map(|t| i64::from(*t)).collect();
        let input = Tensor::from_slice(&ids).view([1, -1]);
        no_grad(|| model.logits(&model.forward(&input)).to_kind(Kind::Float)).squeeze_dim(0)
    });
    Tensor::cat(&logits.collect::<Vec<_>>(), 0)
}

#[test]
fn logits_of_published_models_are_equal() {
    for name in models() {
        let pretrained = Pretrained::open(&name).unwrap();
        let rows: Vec<Vec<u32>> = lines()[..20]
            .iter()
            .map(|line| pretrained.tokenizer.encode(line).unwrap())
            .collect();
        let vocab = pretrained.config.vocab_size;
        let Some(exact) = reference_logits(&name, "float32", &rows, vocab) else {
            return;
        };
        let same = |a: &Tensor, b: &Tensor| {
            let equal = a.argmax(-1, false).eq_tensor(&b.argmax(-1, false));
            equal
                .to_kind(Kind::Double)
                .mean(Kind::Double)
                .double_value(&[])
        };
        let ours = our_logits(&pretrained, Kind::Float, &rows);
        let worst = (&ours - &exact).abs().max().double_value(&[]);
        println!(
            "{name}: {} tokens, float32: {worst:.2e} at most, the same first choice in {:.2} %",
            exact.size()[0],
            100.0 * same(&ours, &exact)
        );
        assert!(worst < 1e-3 && same(&ours, &exact) >= 0.999, "{name}");
        drop(ours);
        // Rounding: both are as far from the float32 logits, give or take a third.
        let away = |t: &Tensor| (t - &exact).abs().mean(Kind::Double).double_value(&[]);
        let ours = our_logits(&pretrained, Kind::BFloat16, &rows);
        let theirs = reference_logits(&name, "bfloat16", &rows, vocab).unwrap();
        println!(
            "{name}, bfloat16: {:.3} from float32 on average, theirs {:.3}; first choice as float32 {:.2} %, theirs {:.2} %",
            away(&ours),
            away(&theirs),
            100.0 * same(&ours, &exact),
            100.0 * same(&theirs, &exact)
        );
        assert!(away(&ours) < 1.33 * away(&theirs), "{name}");
        assert!(same(&ours, &exact) > same(&theirs, &exact) - 0.02, "{name}");
    }
}

#[test]
fn greedy_completions_of_published_models_are_equal() {
    const COUNT: usize = 100;
    for name in models() {
        let pretrained = Pretrained::open(&name).unwrap();
        let prompts: Vec<Vec<u32>> = lines()
            .iter()
            .step_by(101)
            .take(20)
            .map(|line| pretrained.tokenizer.encode(line).unwrap())
            .collect();
        let count = COUNT.to_string();
        let Some(theirs) = reference(&name, &["greedy", &count], &json!(prompts)) else {
            return;
        };
        let theirs: Vec<Vec<u32>> = serde_json::from_value(theirs).unwrap();
        let weights = pretrained.weights(Kind::Float).unwrap();
        let model = Transformer::frozen(&pretrained.config, weights, Device::Cpu);
        let mut engine = Engine::new(FusedModel::new(&model, Precision::Float32).unwrap());
        let (requests, options) = greedy(prompts.iter().cloned(), COUNT);
        let (ours, _) = engine.decode(&requests, &options, &mut |_, _| {}).unwrap();
        let mut equal = 0;
        for ((prompt, ours), theirs) in prompts.iter().zip(&ours).zip(&theirs) {
            let ours = &ours[0].tokens;
            let Some(at) = (0..COUNT).find(|&i| ours[i] != theirs[i]) else {
                equal += 1;
                continue;
            };
            // Two likeliest tokens nearer to each other than the sums' rounding are no disagreement.
            let read: Vec<i64> = prompt
                .iter()
                .chain(&ours[..at])
                .map(|t| i64::from(*t))
                .collect();
            let input = Tensor::from_slice(&read).view([1, -1]);
            let logits = no_grad(|| model.logits(&model.forward(&input))).squeeze_dim(0);
            let logit = |token: u32| logits.double_value(&[-1, i64::from(token)]);
            let gap = (logit(ours[at]) - logit(theirs[at])).abs();
            println!("{name}: token {at} differs, the two are {gap:.1e} apart");
            assert!(gap < 1e-3, "{name}: token {at}, {gap} apart");
        }
        println!("{name}: {equal} of {} completions are equal", prompts.len());
    }
}
