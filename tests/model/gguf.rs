//! GGUF files: written here byte by byte, read back as the model they were made of.

use std::path::Path;

use gauntlet::model::pretrained::gguf::Gguf;
use gauntlet::model::{ModelConfig, Pretrained, Transformer};
use tch::{Device, Kind, Tensor, no_grad};

use super::{open, token_rows, tokenizer};

/// A file in the making.
#[derive(Default)]
struct Writer {
    values: Vec<u8>,
    value_count: u64,
    directory: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32) {
        self.value_count += 1;
        text(&mut self.values, key);
        self.values.extend(kind.to_le_bytes());
    }

    fn int(&mut self, key: &str, value: i64) {
        self.key(key, 4);
        self.values.extend((value as u32).to_le_bytes());
    }

    fn float(&mut self, key: &str, value: f64) {
        self.key(key, 6);
        self.values.extend((value as f32).to_le_bytes());
    }

    fn string(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        text(&mut self.values, value);
    }

    fn strings(&mut self, key: &str, values: &[String]) {
        self.key(key, 9);
        self.values.extend(8u32.to_le_bytes());
        self.values.extend((values.len() as u64).to_le_bytes());
        values
            .iter()
            .for_each(|value| text(&mut self.values, value));
    }

    fn tensor(&mut self, name: &str, shape: &[i64], format: u32, bytes: &[u8]) {
        self.tensor_count += 1;
        text(&mut self.directory, name);
        self.directory.extend((shape.len() as u32).to_le_bytes());
        shape
            .iter()
            .rev()
            .for_each(|d| self.directory.extend((*d as u64).to_le_bytes()));
        self.directory.extend(format.to_le_bytes());
        self.directory
            .extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut all = b"GGUF".to_vec();
        all.extend(3u32.to_le_bytes());
        all.extend(self.tensor_count.to_le_bytes());
        all.extend(self.value_count.to_le_bytes());
        all.extend(&self.values);
        all.extend(&self.directory);
        all.resize(all.len().next_multiple_of(32), 0);
        all.extend(&self.data);
        all
    }
}

fn float_bytes(tensor: &Tensor) -> Vec<u8> {
    let values = Vec::<f32>::try_from(tensor.to_kind(Kind::Float).contiguous().view([-1])).unwrap();
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The golden model of a family as llama.cpp's converter would lay it out.
fn written(family: &str) -> Writer {
    let model = open(family);
    let c = model.config().clone();
    let mut file = Writer::default();
    file.string("general.architecture", family);
    for (key, value) in [
        ("block_count", c.num_hidden_layers),
        ("context_length", c.max_position_embeddings),
        ("embedding_length", c.hidden_size),
        ("feed_forward_length", c.intermediate_size),
        ("attention.head_count", c.num_attention_heads),
        ("attention.head_count_kv", c.num_key_value_heads),
        ("attention.key_length", c.head_dim),
    ] {
        file.int(&format!("{family}.{key}"), value);
    }
    file.float(
        &format!("{family}.attention.layer_norm_rms_epsilon"),
        c.rms_norm_eps,
    );
    file.float(&format!("{family}.rope.freq_base"), c.rope_theta);
    if family == "gemma3" {
        file.int("gemma3.attention.sliding_window", 8);
        file.int("gemma3.attention.sliding_window_pattern", 2);
    }
    let json: serde_json::Value = serde_json::from_str(&tokenizer()).unwrap();
    let mut tokens: Vec<String> = json["model"]["vocab"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    tokens.extend(["<|im_start|>".to_owned(), "<|im_end|>".to_owned()]);
    file.string("tokenizer.ggml.model", "gpt2");
    file.string("tokenizer.ggml.pre", "qwen2");
    file.strings("tokenizer.ggml.tokens", &tokens);
    file.strings("tokenizer.ggml.merges", &[]);
    for (name, tensor) in model.parameters() {
        let stored = name
            .replace("model.embed_tokens", "token_embd")
            .replace("model.norm", "output_norm")
            .replace("lm_head", "output")
            .replace("model.layers.", "blk.")
            .replace("input_layernorm", "attn_norm")
            .replace("pre_feedforward_layernorm", "ffn_norm")
            .replace("post_feedforward_layernorm", "post_ffw_norm")
            .replace(
                "post_attention_layernorm",
                match family {
                    "gemma3" => "post_attention_norm",
                    _ => "ffn_norm",
                },
            )
            .replace("self_attn.q_norm", "attn_q_norm")
            .replace("self_attn.k_norm", "attn_k_norm")
            .replace("self_attn.o_proj", "attn_output")
            .replace("self_attn.", "attn_")
            .replace("mlp.", "ffn_")
            .replace("_proj.", ".");
        let heads = match (family, name.rsplit('.').nth(1).unwrap()) {
            ("llama" | "smollm3", "q_proj") => Some(c.num_attention_heads),
            ("llama" | "smollm3", "k_proj") => Some(c.num_key_value_heads),
            _ => None,
        };
        // The converter puts the halves of each llama head side by side, pair by pair.
        let laid = match heads {
            Some(heads) => tensor
                .view([heads, 2, c.head_dim / 2, -1])
                .transpose(1, 2)
                .reshape(tensor.size()),
            // It makes a factor of a norm's distance from one.
            None if family == "gemma3" && name.ends_with("norm.weight") => tensor + 1.0,
            None => tensor.shallow_clone(),
        };
        file.tensor(&stored, &tensor.size(), 0, &float_bytes(&laid));
    }
    file
}

#[test]
fn a_converted_model_is_the_model() {
    for family in ["qwen2", "qwen3", "gemma3", "smollm3"] {
        check_converted(family, written(family));
    }
    // llama's rope scaling stands in the file as one factor a frequency.
    let factors = (0..8).map(|i| {
        let plain = 10_000f64.powf(-2.0 * f64::from(i) / 16.0);
        let turns = 64.0 * plain / std::f64::consts::TAU;
        let kept = ((turns - 1.0) / 3.0).clamp(0.0, 1.0);
        (1.0 / ((1.0 - kept) / 8.0 + kept)) as f32
    });
    let factors: Vec<f32> = factors.collect();
    let bytes = |factors: &[f32]| {
        factors
            .iter()
            .flat_map(|f| f.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let mut file = written("llama");
    file.int("llama.rope.scaling.original_context_length", 64);
    file.tensor("rope_freqs.weight", &[8], 0, &bytes(&factors));
    check_converted("llama", file);

    let mut file = written("llama");
    file.int("llama.rope.scaling.original_context_length", 64);
    file.tensor("rope_freqs.weight", &[8], 0, &bytes(&[8.0; 8]));
    let said = refusal(&file.bytes());
    assert!(
        said.contains("rope_freqs.weight") && said.contains("Llama 3.1"),
        "{said}"
    );
}

/// A file that `export` wrote says of the model what the published folder said.
pub fn check_written(written: &Pretrained, published: &Pretrained) {
    let mut config = written.config.clone();
    config.rms_norm_eps = published.config.rms_norm_eps;
    assert_eq!(config, published.config);
    let eps = written.config.rms_norm_eps / published.config.rms_norm_eps;
    assert!((eps - 1.0).abs() < 1e-6, "{eps}");
    let text = "<|im_start|>user\nhow old?<|im_end|>";
    assert_eq!(
        written.tokenizer.encode(text).unwrap(),
        published.tokenizer.encode(text).unwrap()
    );
    let source = |model: &Pretrained| model.chat_template.as_ref().unwrap().source().to_owned();
    assert_eq!(source(written), source(published));
}

fn check_converted(family: &str, file: Writer) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    let read = Pretrained::open(path.to_str().unwrap()).unwrap();
    let ours = Transformer::frozen(
        &read.config,
        read.weights(Kind::Float).unwrap(),
        Device::Cpu,
    );
    let golden = open(family);
    let row = Tensor::from_slice(&token_rows()[0]).view([1, -1]);
    let logits = |model: &Transformer| no_grad(|| model.logits(&model.forward(&row)));
    let worst = (logits(&ours) - logits(&golden))
        .abs()
        .max()
        .double_value(&[]);
    assert!(worst < 1e-4, "{family}: {worst}");
    assert_eq!(read.tokenizer.special("<|im_end|>").unwrap(), 95);
}

fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.gguf");
    std::fs::write(&path, bytes).unwrap();
    let opened = Pretrained::open(path.to_str().unwrap());
    opened.err().expect("a damaged file is refused").to_string()
}

#[test]
fn damage_is_named_with_its_place() {
    let whole = written("qwen3").bytes();
    let said = refusal(&whole[..whole.len() / 2]);
    assert!(
        said.contains("damaged.gguf") && said.contains("truncated"),
        "{said}"
    );
    assert!(refusal(&[b"GGML", &whole[4..]].concat()).contains("letters GGUF"));
    assert!(refusal(&[b"GGUF\x09", &whole[5..]].concat()).contains("GGUF version 9"));
    // Whatever is cut off, and whatever byte of the directory is turned, nothing panics or asks for absurd memory.
    for length in (0..whole.len().min(6000)).step_by(37) {
        refusal(&whole[..length]);
    }
    for at in (4..4000).step_by(13) {
        let mut turned = whole.clone();
        turned[at] ^= 0xff;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turned.gguf");
        std::fs::write(&path, turned).unwrap();
        if let Ok(model) = Pretrained::open(path.to_str().unwrap()) {
            let _ = model.weights(Kind::Float);
        }
    }
}

/// A file of `family` with more keys, as it is read or refused.
fn opened_with(family: &str, more: impl FnOnce(&mut Writer)) -> Result<ModelConfig, String> {
    let mut file = written(family);
    more(&mut file);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    let opened = Pretrained::open(path.to_str().unwrap());
    opened.map(|model| model.config).map_err(|e| e.to_string())
}

#[test]
fn keys_of_rotary_positions_are_applied_or_refused_by_name() {
    let scaling = |more: fn(&mut Writer)| {
        let config = opened_with("qwen3", more).unwrap();
        config.rope_scaling
    };
    // A factor alone stretches linearly, by its older name too.
    for key in ["qwen3.rope.scaling.factor", "qwen3.rope.scale_linear"] {
        let config = opened_with("qwen3", |file| file.float(key, 4.0)).unwrap();
        let scaling = config.rope_scaling.unwrap();
        assert_eq!((&*scaling.rope_type, scaling.factor), ("linear", 4.0));
    }
    assert!(scaling(|file| file.float("qwen3.rope.scaling.factor", 1.0)).is_none());
    let yarn = scaling(|file| {
        file.string("qwen3.rope.scaling.type", "yarn");
        file.float("qwen3.rope.scaling.factor", 4.0);
        file.float("qwen3.rope.scaling.attn_factor", 0.5);
        file.float("qwen3.rope.scaling.yarn_beta_fast", 8.0);
        file.float("qwen3.rope.scaling.yarn_beta_slow", 2.0);
        file.int("qwen3.rope.dimension_count", 32);
    })
    .unwrap();
    assert_eq!((yarn.beta_fast, yarn.beta_slow), (Some(8.0), Some(2.0)));
    let factor = yarn.attention_factor.unwrap();
    assert!(
        (factor - 0.5 * (0.1 * 4f64.ln() + 1.0)).abs() < 1e-6,
        "{factor}"
    );
    let refused: [(&str, f64); 4] = [
        ("rope.scaling.attn_factor", 0.5),
        ("rope.scaling.yarn_log_multiplier", 0.1),
        ("rope.scaling.yarn_ext_factor", 0.5),
        ("final_logit_softcapping", 30.0),
    ];
    for (key, value) in refused {
        let error = opened_with("qwen3", |file| {
            file.float("qwen3.rope.scaling.factor", 4.0);
            file.float(&format!("qwen3.{key}"), value);
        });
        let error = error.unwrap_err();
        assert!(error.contains(key), "{key}: {error}");
    }
    let partial = opened_with("qwen3", |file| file.int("qwen3.rope.dimension_count", 16));
    let partial = partial.unwrap_err();
    assert!(partial.contains("rope.dimension_count is 16"), "{partial}");
}

#[test]
fn an_unsupported_quantisation_is_named_with_its_tensor() {
    let mut file = written("qwen3");
    file.tensor("blk.0.extra.weight", &[1, 256], 16, &[0; 66]);
    let said = refusal(&file.bytes());
    assert!(
        said.contains("blk.0.extra.weight") && said.contains("IQ2_XXS"),
        "{said}"
    );
    assert!(said.contains("Q4_K"), "{said}");
}

/// Blocks of every format with the values that the `gguf` package (0.19) makes of them: see `model/blocks.py`.
#[test]
fn blocks_are_read_as_the_gguf_package_reads_them() {
    let golden = super::json(&super::data().join("blocks.json"));
    for (name, entry) in golden.as_object().unwrap() {
        let bytes: Vec<u8> = serde_json::from_value(entry["bytes"].clone()).unwrap();
        let values: Vec<f32> = serde_json::from_value(entry["values"].clone()).unwrap();
        let number = entry["number"].as_u64().unwrap() as u32;
        let mut file = Writer::default();
        file.tensor("t", &[1, values.len() as i64], number, &bytes);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("block.gguf");
        std::fs::write(&path, file.bytes()).unwrap();
        let read = Gguf::open(Path::new(&path))
            .unwrap()
            .tensor("t", Kind::Float)
            .unwrap();
        let read = Vec::<f32>::try_from(read.view([-1])).unwrap();
        for (ours, theirs) in read.iter().zip(&values) {
            assert!(
                (ours - theirs).abs() <= 1e-6 * theirs.abs().max(1.0),
                "{name}: {ours} {theirs}"
            );
        }
    }
    assert_eq!(golden.as_object().unwrap().len(), 11);
}
