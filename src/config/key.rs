//! One configuration key, and the macro that defines a section of them.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::stage::Stage;

/// A configuration key: what it is called, what it does, and what it accepts.
pub struct Key {
    /// The section it stands in.
    pub section: &'static str,
    /// What the section is about.
    pub section_help: &'static str,
    /// Its name within the section.
    pub name: &'static str,
    /// What it does, in a sentence or two.
    pub help: String,
    /// What kind of value it takes, in words.
    pub kind: String,
    /// The lowest and highest number allowed; for a list, of each entry.
    pub range: Option<(f64, f64)>,
    /// The value when none is given.
    pub default: Json,
    pub(super) reads: fn(&Json) -> bool,
}

impl Key {
    /// The key as one writes it: `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The allowed range in words, where there is one.
    pub fn range_text(&self) -> Option<String> {
        let (low, high) = self.range?;
        Some(match (low.is_finite(), high.is_finite()) {
            (true, true) => format!("{low} to {high}"),
            (true, false) => format!("{low} or more"),
            _ => format!("at most {high}"),
        })
    }

    /// The key's paragraph of `--help-config`.
    pub(super) fn help_entry(&self) -> String {
        let range = self
            .range_text()
            .map(|range| format!(", {range}"))
            .unwrap_or_default();
        format!(
            "  {}: {}   ({}{range})\n      {}\n",
            self.name, self.default, self.kind, self.help
        )
    }

    /// Whether its value is, or may be, a path.
    pub(super) fn is_path(&self) -> bool {
        const BESIDE: [&str; 5] = [
            "path",
            "tokenizer",
            "checkpoint_dir",
            "resume_from",
            "init_from",
        ];
        let or_null = self.kind.split(',').next();
        or_null == Some(PathBuf::kind().as_str()) || BESIDE.contains(&self.name)
    }

    /// The first number in `value` that lies outside the range.
    pub(super) fn out_of_range(&self, value: &Json) -> Option<f64> {
        let (low, high) = self.range?;
        let numbers = match value {
            Json::Array(entries) => entries.iter().filter_map(Json::as_f64).collect(),
            single => Vec::from_iter(single.as_f64()),
        };
        // Written so that a NaN is outside of every range.
        numbers
            .into_iter()
            .find(|number| !(low..=high).contains(number))
    }
}

/// A type that a key may have.
pub trait Setting: Serialize + DeserializeOwned {
    /// The kind of value, in words that complete "expected ...".
    fn kind() -> String;
}

macro_rules! settings {
    ($($type:ty: $kind:literal),* $(,)?) => {
        $(impl Setting for $type {
            fn kind() -> String {
                $kind.to_owned()
            }
        })*
    };
}

settings! {
    bool: "true or false",
    usize: "whole number",
    u32: "whole number",
    u64: "whole number",
    i64: "whole number",
    f64: "number",
    String: "text",
    PathBuf: "path",
    Vec<String>: "list of texts",
    Stage: "stage number, 1 to 5",
    std::collections::BTreeMap<String, String>: "mapping of text to text",
}

impl<T: Setting> Setting for Option<T> {
    fn kind() -> String {
        format!("{}, or null", T::kind())
    }
}

impl<T: Setting> Setting for [T; Stage::COUNT]
where
    [T; Stage::COUNT]: Serialize + DeserializeOwned,
{
    fn kind() -> String {
        format!("list of five, one a stage, each a {}", T::kind())
    }
}

/// Defines a section: a struct with documented fields, its `Default`, and its list of [`Key`]s. `/// ..` is help
/// text, `= ..` the default, `in ..` the range. With `overridden by Name`, also a struct of the same keys that are
/// all optional.
macro_rules! section {
    (
        #[doc = $about:literal]
        pub struct $name:ident overridden by $overrides:ident { $($keys:tt)* }
    ) => {
        $crate::config::key::section! { #[doc = $about] pub struct $name { $($keys)* } }
        $crate::config::key::overrides! { $overrides of $name { $($keys)* } }
    };
    (
        #[doc = $about:literal]
        pub struct $name:ident {
            $($(#[doc = $help:literal])+ $key:ident: $type:ty = $default:expr $(, in $low:literal ..= $high:expr)?;)*
        }
    ) => {
        #[doc = $about]
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[doc = $help])+ pub $key: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($key: $default,)* }
            }
        }

        impl $name {
            pub(super) fn keys(section: &'static str) -> Vec<$crate::config::key::Key> {
                vec![$($crate::config::key::Key {
                    section,
                    section_help: $about.trim_ascii(),
                    name: stringify!($key),
                    help: [$($help.trim_ascii()),+].join(" "),
                    kind: <$type as $crate::config::key::Setting>::kind(),
                    range: $crate::config::key::range!($($low, $high)?),
                    default: serde_json::json!($name::default().$key),
                    reads: |value| serde_json::from_value::<$type>(value.clone()).is_ok(),
                }),*]
            }
        }
    };
}

macro_rules! overrides {
    ($name:ident of $base:ident {
        $($(#[doc = $help:literal])+ $key:ident: $type:ty = $default:expr $(, in $low:literal ..= $high:expr)?;)*
    }) => {
        #[doc = "What this player's model has otherwise than `model`; null takes `model`'s."]
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $(#[doc = concat!("Stands in for `model.", stringify!($key), "`.")] pub $key: Option<$type>,)*
        }

        impl $name {
            /// `base` with what is set here in its place.
            pub fn apply(&self, base: &$base) -> $base {
                $base { $($key: self.$key.clone().unwrap_or_else(|| base.$key.clone()),)* }
            }

            pub(super) fn keys(section: &'static str) -> Vec<$crate::config::key::Key> {
                vec![$($crate::config::key::Key {
                    section,
                    section_help: "What this player's model has otherwise than `model`; null takes `model`'s.",
                    name: stringify!($key),
                    help: concat!("Stands in for model.", stringify!($key), ".").to_owned(),
                    kind: <Option<$type> as $crate::config::key::Setting>::kind(),
                    range: $crate::config::key::range!($($low, $high)?),
                    default: serde_json::Value::Null,
                    reads: |value| serde_json::from_value::<Option<$type>>(value.clone()).is_ok(),
                }),*]
            }
        }
    };
}

macro_rules! range {
    () => {
        None
    };
    ($low:expr, $high:expr) => {
        Some(($low as f64, $high as f64))
    };
}

/// Defines a setting that is one of a few words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident { $(#[doc = $help:literal] $variant:ident = $word:literal,)+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[doc = $help] #[serde(rename = $word)] $variant,)+
        }

        impl $crate::config::key::Setting for $name {
            fn kind() -> String {
                format!("one of {}", [$($word),+].join(", "))
            }
        }
    };
}

pub(super) use {choice, overrides, range, section};
