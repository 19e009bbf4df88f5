//! From text to a checked [`Config`]: every mistake is found in one go, and each says where it stands and what would
//! be right.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use serde_saphyr::Spanned;

use super::conflict::conflicts;
use super::error::{ConfigError, Finding, Origin, Reason};
use super::home::expand_home;
use super::key::Key;
use super::sections::Config;

impl Config {
    /// Reads a YAML file (or a `config.json`, which is YAML too), puts the overrides over it, and checks every value.
    /// Without a file the defaults stand.
    pub fn load(path: Option<&Path>, overrides: &[String]) -> Result<Config, ConfigError> {
        let text = match path {
            Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?,
            None => String::new(),
        };
        Config::parse(&text, path.unwrap_or(Path::new("defaults")), overrides)
    }

    /// As [`Config::load`], from the text of a file that is called `path`.
    pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Config, ConfigError> {
        let mut reading = Reading::default();
        reading.file(text, path)?;
        for argument in overrides {
            reading.argument(argument);
        }
        reading.finish()
    }

    /// The configuration as `config.json` holds it: every key, in the order of [`Config::keys`].
    pub fn to_json(&self) -> Json {
        serde_json::to_value(self).expect("a configuration is plain data with text keys")
    }
}

/// Keys under which older files and checkpoints give what another key holds: the older section and name, and the key's.
const MOVED: [[(&str, &str); 2]; 1] = [[("game", "kl_beta"), ("algorithm", "kl_beta")]];

/// A mapping in the order of its lines.
type Entries<V> = Vec<(Spanned<String>, V)>;

/// What stands where a mapping should.
enum Body<V> {
    Mapping(Entries<V>),
    /// Nothing at all, which is as good as an empty mapping.
    Empty,
    /// Something else, as it was written.
    Other(Json),
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Body<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodyVisitor(PhantomData))
    }
}

struct BodyVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for BodyVisitor<V> {
    type Value = Body<V>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("`key: value` lines")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Body::Mapping(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = seq.next_element()? {
            entries.push(entry);
        }
        Ok(Body::Other(Json::Array(entries)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Body::Empty)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Body::Empty)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Body::Other(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Body::Other(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Body::Other(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Body::Other(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Body::Other(value.into()))
    }
}

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    let mut options = serde_saphyr::options::Options::default();
    options.strict_booleans = true;
    options.with_snippet = false;
    serde_saphyr::from_str_with_options(text, options)
}

/// The value that a text gives to a key on the command line. Where the key takes a text, that is the text as it stands,
/// with whatever YAML would take for something else in it (`#`, `!`, `~`, digits), unless it is quoted.
fn given(key: Option<&Key>, text: &str) -> Json {
    let read = yaml::<Json>(text).ok();
    let as_text = Json::String(text.to_owned());
    let takes_text = key.is_some_and(|key| (key.reads)(&as_text));
    let is_quoted = text.starts_with(['"', '\'']) && yaml::<Spanned<String>>(text).is_ok();
    let is_nothing = text == "null" && key.is_some_and(|key| (key.reads)(&Json::Null));
    match read {
        Some(value) if !takes_text || is_quoted || is_nothing => value,
        _ => as_text,
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    values: BTreeMap<(&'static str, &'static str), (Json, Origin)>,
    findings: Vec<Finding>,
}

impl Reading {
    fn file(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let syntax = |message| ConfigError::Syntax {
            path: path.to_owned(),
            message,
        };
        let at = |key: &Spanned<String>| Origin::File {
            path: path.to_owned(),
            line: key.referenced.line(),
        };
        let file: Body<Body<Spanned<Json>>> =
            yaml(text).map_err(|error| syntax(error.to_string()))?;
        let sections = match file {
            Body::Mapping(sections) => sections,
            Body::Empty => Vec::new(),
            Body::Other(value) => {
                return Err(syntax(format!("line 1 begins {value}, expected a section")));
            }
        };
        for (section, body) in sections {
            let known = Config::keys()
                .iter()
                .any(|key| key.section == section.value);
            match body {
                _ if !known => self.refuse(at(&section), Reason::unknown_section(&section.value)),
                Body::Empty => {}
                Body::Mapping(entries) => {
                    for (key, value) in entries {
                        self.value(&section.value, &key.value, value.value, at(&key));
                    }
                }
                Body::Other(value) => {
                    let expected = "`key: value` lines".to_owned();
                    self.refuse(
                        at(&section),
                        Reason::WrongKind {
                            key: section.value,
                            value,
                            expected,
                        },
                    );
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, origin: Origin, reason: Reason) {
        self.findings.push(Finding { origin, reason });
    }

    fn argument(&mut self, argument: &str) {
        let origin = Origin::Set(argument.to_owned());
        let parts = argument.split_once('=');
        let path = parts.and_then(|(path, _)| path.trim().split_once('.'));
        let (Some((section, name)), Some((_, text))) = (path, parts) else {
            return self.refuse(origin, Reason::NotAnOverride);
        };
        let key = Config::keys()
            .iter()
            .find(|key| key.section == section && key.name == name);
        let value = given(key, text.trim());
        self.value(section, name, value, origin);
    }

    fn value(&mut self, section: &str, name: &str, value: Json, origin: Origin) {
        let moved = MOVED.iter().find(|[old, _]| *old == (section, name));
        let (section, name) = moved.map_or((section, name), |[_, key]| *key);
        let Some(key) = Config::keys()
            .iter()
            .find(|key| key.section == section && key.name == name)
        else {
            return self.refuse(origin, Reason::unknown_key(section, name));
        };
        let value = match value {
            // A port alone is an address.
            Json::Number(port) if key.path() == "monitor.serve" => Json::String(port.to_string()),
            Json::String(text) if key.is_path() => match expand_home(Path::new(&text)) {
                Ok(path) => Json::String(path.to_string_lossy().into_owned()),
                Err(error) => {
                    return self
                        .refuse(origin, Reason::Conflict(format!("{}: {error}", key.path())));
                }
            },
            value => value,
        };
        if !(key.reads)(&value) {
            let expected = key.kind.clone();
            self.refuse(
                origin,
                Reason::WrongKind {
                    key: key.path(),
                    value,
                    expected,
                },
            );
        } else if let Some(value) = key.out_of_range(&value) {
            let allowed = key.range_text().unwrap_or_default();
            self.refuse(
                origin,
                Reason::OutOfRange {
                    key: key.path(),
                    value,
                    allowed,
                },
            );
        } else if let (Origin::File { .. }, Some((_, Origin::File { line, .. }))) =
            (&origin, self.values.get(&(key.section, key.name)))
        {
            // The parser refuses a key that stands twice, so one of the two stands under its older name.
            let again = format!("{} is given on line {line} already", key.path());
            self.refuse(origin, Reason::Conflict(again));
        } else {
            self.values.insert((key.section, key.name), (value, origin));
        }
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        let mut json = Config::default().to_json();
        for ((section, name), (value, _)) in &self.values {
            json[section][name] = value.clone();
        }
        let config: Config =
            serde_json::from_value(json).expect("each value was read as its key's type");
        for conflict in conflicts(&config) {
            let given = conflict.keys.iter().find_map(|key| self.values.get(key));
            let origin = given.map_or(Origin::Default, |(_, origin)| origin.clone());
            self.refuse(origin, Reason::Conflict(conflict.message));
        }
        if self.findings.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid(self.findings))
        }
    }
}

#[cfg(test)]
mod tests;
