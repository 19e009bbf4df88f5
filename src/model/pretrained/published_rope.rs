//! Rotary positions as a published `config.json` says them: `rope_theta` and `rope_scaling`, or `rope_parameters`, for all
//! layers or for each kind of layers.

use std::path::Path;

use serde_json::{Map, Value as Json};

use super::super::rope::{ROPE_TYPES, RopeScaling};
use super::error::LoadError;

/// The angles that a configuration asks for.
#[derive(Debug)]
pub struct RopeKeys {
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// How they are stretched.
    pub scaling: Option<RopeScaling>,
    /// Base of the frequencies of layers with a window, in families where it is another one.
    pub local_theta: Option<f64>,
}

/// Reads the keys of `json`, in which the family's defaults are filled in; `local` is `rope_local_base_freq`, of families
/// that have it.
pub fn read(json: &Json, path: &Path, local: Option<&Json>) -> Result<RopeKeys, LoadError> {
    let reader = Reader { json, path };
    let parameters = match &json["rope_scaling"] {
        Json::Null => &json["rope_parameters"],
        scaling => scaling,
    };
    // `rope_parameters` may hold those of each kind of layers.
    let nested = ["full_attention", "sliding_attention"];
    let is_nested = nested.iter().any(|kind| parameters[kind].is_object());
    let full = match is_nested {
        true => &parameters["full_attention"],
        false => parameters,
    };
    let theta = |rope: &Json, otherwise: &Json| {
        let given = [&rope["rope_theta"], otherwise].into_iter();
        given.filter_map(Json::as_f64).next().unwrap_or(10_000.0)
    };
    let sliding = &parameters["sliding_attention"];
    if is_nested && local.is_none() {
        return Err(reader.unsupported(
            "rope_parameters",
            parameters,
            "all layers of this architecture turn alike here",
        ));
    }
    if reader.scaling(sliding)?.is_some() {
        return Err(reader.unsupported(
            "rope_parameters.sliding_attention",
            sliding,
            "the frequencies of layers with a window are not stretched here",
        ));
    }
    Ok(RopeKeys {
        theta: theta(full, &json["rope_theta"]),
        scaling: reader.scaling(full)?,
        local_theta: local.map(|local| theta(sliding, local)),
    })
}

struct Reader<'a> {
    json: &'a Json,
    path: &'a Path,
}

/// Keys of a scaling that say nothing about angles, or are read elsewhere.
const OTHER: [&str; 4] = ["type", "rope_theta", "partial_rotary_factor", "finetuned"];

impl Reader<'_> {
    fn scaling(&self, rope: &Json) -> Result<Option<RopeScaling>, LoadError> {
        let name = rope["rope_type"].as_str().or(rope["type"].as_str());
        let Some(name) = name.filter(|name| *name != "default") else {
            return Ok(None);
        };
        let own: &[&str] = match name {
            "linear" | "dynamic" => &[],
            "llama3" => &["low_freq_factor", "high_freq_factor"],
            "yarn" => &[
                "beta_fast",
                "beta_slow",
                "attention_factor",
                "mscale",
                "mscale_all_dim",
                "truncate",
            ],
            _ => {
                let known = format!("known scalings are {}", ROPE_TYPES.join(", "));
                return Err(self.unsupported("rope_scaling.rope_type", &name.into(), &known));
            }
        };
        let known = [
            &["rope_type", "factor", "original_max_position_embeddings"],
            own,
        ]
        .concat();
        let mut fields = Map::new();
        // Older files say `type`, newer ones `rope_type`, some both.
        fields.insert("rope_type".into(), name.into());
        for (key, value) in rope.as_object().into_iter().flatten() {
            match &**key {
                _ if value.is_null() => {}
                key if known.contains(&key) => {
                    fields.insert(key.to_owned(), value.clone());
                }
                key if OTHER.contains(&key) => {}
                key => {
                    let supported = format!("{name} has {}", known.join(", "));
                    return Err(self.unsupported(
                        &format!("rope_scaling.{key}"),
                        value,
                        &supported,
                    ));
                }
            }
        }
        for part in [rope, self.json] {
            let share = &part["partial_rotary_factor"];
            if share.as_f64().is_some_and(|share| share != 1.0) {
                let supported = "scaled rotary positions turn whole heads here";
                return Err(self.unsupported("partial_rotary_factor", share, supported));
            }
        }
        self.complete(name, &mut fields)?;
        let scaling = serde_json::from_value(fields.into())
            .map_err(|error| self.damaged(format!("rope_scaling: {error}")))?;
        Ok(Some(scaling))
    }

    /// Fills in what stands elsewhere in the file, as transformers does.
    fn complete(&self, name: &str, fields: &mut Map<String, Json>) -> Result<(), LoadError> {
        const ORIGINAL: &str = "original_max_position_embeddings";
        if matches!(name, "llama3" | "yarn") && !self.json[ORIGINAL].is_null() {
            fields.insert(ORIGINAL.into(), self.json[ORIGINAL].clone());
        }
        // Some files write whole numbers as 64.0.
        if let Some(number) = fields.get_mut(ORIGINAL)
            && let Some(value) = number.as_f64()
        {
            if value < 1.0 || value.fract() != 0.0 {
                let what = format!("rope_scaling: {ORIGINAL} is {number}, no number of positions");
                return Err(self.damaged(what));
            }
            *number = Json::from(value as i64);
        }
        if !fields.contains_key("factor") {
            let context = self.json["max_position_embeddings"].as_f64();
            let original = fields.get(ORIGINAL).and_then(Json::as_f64);
            let (Some(context), Some(original), "yarn") = (context, original, name) else {
                return Err(self.damaged(format!("rope_scaling: {name} without factor")));
            };
            fields.insert("factor".into(), (context / original).into());
        }
        Ok(())
    }

    fn damaged(&self, what: String) -> LoadError {
        LoadError::Damaged {
            path: self.path.to_owned(),
            what,
        }
    }

    fn unsupported(&self, key: &str, value: &Json, supported: &str) -> LoadError {
        LoadError::Unsupported {
            path: self.path.to_owned(),
            key: key.into(),
            value: value.to_string(),
            supported: supported.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scaling(config: Json) -> Result<Option<RopeScaling>, String> {
        let read = read(&config, Path::new("config.json"), None);
        read.map(|keys| keys.scaling).map_err(|e| e.to_string())
    }

    #[test]
    fn every_key_is_applied_or_refused_by_name() {
        let yarn = |mut more: Json, value: &str| {
            more["type"] = "yarn".into();
            more["factor"] = json!(4.0);
            let read = scaling(json!({"rope_scaling": more})).unwrap().unwrap();
            let back = serde_json::to_value(read).unwrap();
            assert_eq!(back[value], more[value], "{value}");
        };
        for key in [
            "beta_fast",
            "beta_slow",
            "attention_factor",
            "mscale",
            "mscale_all_dim",
        ] {
            yarn(json!({ key: 2.5 }), key);
        }
        yarn(json!({"truncate": false}), "truncate");
        let refused = [
            (
                json!({"rope_type": "linear", "factor": 2.0, "mscale": 1.0}),
                "rope_scaling.mscale is 1.0",
            ),
            (
                json!({"rope_type": "yarn", "factor": 2.0, "stretch": 3}),
                "rope_scaling.stretch is 3",
            ),
            (
                json!({"rope_type": "longrope"}),
                "rope_scaling.rope_type is \"longrope\"",
            ),
            (json!({"rope_type": "linear"}), "linear without factor"),
            (
                json!({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64.5}),
                "no number of positions",
            ),
            (
                json!({"rope_type": "yarn", "factor": 2.0, "partial_rotary_factor": 0.5}),
                "partial_rotary_factor is 0.5",
            ),
            (
                json!({"full_attention": {"rope_type": "default"}}),
                "all layers of this architecture turn alike",
            ),
        ];
        for (rope, said) in refused {
            let error = scaling(json!({"rope_parameters": rope})).unwrap_err();
            assert!(error.contains(said), "wanted {said:?}, got {error}");
        }
    }

    #[test]
    fn what_stands_elsewhere_in_the_file_is_filled_in() {
        let read = |config| scaling(config).unwrap().unwrap();
        let top = read(json!({"original_max_position_embeddings": 64,
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}}));
        assert_eq!(top.original_max_position_embeddings, Some(64));
        let float = read(json!({"rope_scaling":
            {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64.0}}));
        assert_eq!(float.original_max_position_embeddings, Some(64));
        let ratio = read(json!({"max_position_embeddings": 256, "rope_scaling":
            {"rope_type": "yarn", "factor": null, "original_max_position_embeddings": 64}}));
        assert_eq!(ratio.factor, 4.0);
    }

    #[test]
    fn each_kind_of_layers_has_its_base() {
        let local = json!(10_000.0);
        let nested = json!({"rope_theta": 1e6, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5e3}}});
        let keys = read(&nested, Path::new("config.json"), Some(&local)).unwrap();
        assert_eq!((keys.theta, keys.local_theta), (2e6, Some(5e3)));
        assert_eq!(keys.scaling.unwrap().factor, 8.0);
        let flat = json!({"rope_theta": 1e6, "rope_scaling": null});
        let keys = read(&flat, Path::new("config.json"), Some(&local)).unwrap();
        assert_eq!((keys.theta, keys.local_theta), (1e6, Some(1e4)));
    }
}
