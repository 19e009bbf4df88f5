//! Where the first value stands that is no number: said of a run that stops because of one.

use tch::{Kind, Tensor};

use super::layers::Attention;
use super::transformer::Transformer;

/// Names the first weight of `model` that is not finite, else the first layer whose output for `tokens` is not.
pub fn first_not_finite(model: &Transformer, tokens: &[u32]) -> String {
    let broken = |t: &Tensor| t.isfinite().logical_not().any().int64_value(&[]) != 0;
    let mut weights = model.parameters().iter().chain(model.trainable());
    if let Some((name, _)) = weights.find(|(_, weight)| broken(weight)) {
        return format!("the weight {name}");
    }
    let tokens: Vec<i64> = tokens.iter().map(|t| i64::from(*t)).collect();
    let tokens = Tensor::from_slice(&tokens)
        .to_device(model.device())
        .view([1, -1]);
    let positions = Tensor::arange(tokens.size()[1], (Kind::Int64, model.device())).view([1, -1]);
    gauntlet_shim::inference_mode(|| {
        let rotary = model.rotary_at(&positions, tokens.size()[1]);
        let mut hidden = model.embed(&tokens);
        if broken(&hidden) {
            return "the output of model.embed_tokens".to_owned();
        }
        for (index, layer) in model.layers.iter().enumerate() {
            hidden = model.block(layer, hidden, &rotary, Attention::Causal);
            if broken(&hidden) {
                return format!("the output of model.layers.{index}");
            }
        }
        let hidden = model.final_norm(&hidden);
        if broken(&hidden) {
            return "the output of model.norm".to_owned();
        }
        if broken(&model.logits(&hidden)) {
            return "the output of lm_head".to_owned();
        }
        "none when its prompt is read again".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::super::config::test_config;
    use super::*;

    #[test]
    fn the_first_broken_weight_or_layer_is_named() {
        let model = Transformer::init(&test_config(), 0.02, 7, Device::Cpu);
        let set = |name: &str, value: f64| {
            let (_, weight) = model.parameters().iter().find(|(n, _)| n == name).unwrap();
            let _ = tch::no_grad(|| weight.shallow_clone().fill_(value));
        };
        let place = || first_not_finite(&model, &[1, 2, 3]);
        assert!(place().starts_with("none"));
        // Finite, and too large for what follows.
        set("model.layers.1.mlp.up_proj.weight", 3e38);
        assert_eq!(place(), "the output of model.layers.1");
        set("model.layers.0.self_attn.q_proj.weight", f64::NAN);
        assert_eq!(place(), "the weight model.layers.0.self_attn.q_proj.weight");
    }
}
