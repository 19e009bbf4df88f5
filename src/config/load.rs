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
mod tests {
    use super::*;

    /// What `Config::parse` says about a text and overrides that it refuses.
    fn refusal(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides
            .iter()
            .map(|argument| argument.to_string())
            .collect();
        Config::parse(text, Path::new("run.yaml"), &overrides)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn unknown_keys_name_their_line_and_the_nearest_key() {
        for (text, said) in [
            (
                "game:\n  # a comment\n  group_siz: 4\n",
                "run.yaml:3: there is no key game.group_siz; did you mean game.group_size?",
            ),
            (
                "gmae:\n  group_size: 4\n",
                "run.yaml:1: there is no section gmae; did you mean game?",
            ),
            (
                "group_size: 4\n",
                "run.yaml:1: there is no section group_size; did you mean game.group_size?",
            ),
            (
                "model:\n  learning_rate: 1\n",
                "run.yaml:2: there is no key model.learning_rate; did you mean warmup.learning_rate?",
            ),
            (
                "stages:\n  qqqqqqqq: 1\n",
                "run.yaml:2: there is no key stages.qqqqqqqq; there are first, last, ",
            ),
            ("run:\n  名前: x\n", "there is no key run.名前"),
        ] {
            assert!(refusal(text, &[]).contains(said), "{}", refusal(text, &[]));
        }
        let said = refusal("", &["sampling.temprature=2"]);
        assert!(
            said.contains("--set sampling.temprature=2: there is no key"),
            "{said}"
        );
        assert!(
            said.contains("did you mean sampling.temperature?"),
            "{said}"
        );
    }

    #[test]
    fn an_older_name_stands_for_its_key() {
        let text = "game:\n  kl_beta: 0.25\n";
        let config = Config::parse(text, Path::new("run.yaml"), &[]).unwrap();
        assert_eq!(config.algorithm.kl_beta, 0.25);
        let over = ["game.kl_beta=0.5".to_owned()];
        for text in [text, "algorithm: {kl_beta: 0.25}"] {
            let config = Config::parse(text, Path::new("run.yaml"), &over).unwrap();
            assert_eq!(config.algorithm.kl_beta, 0.5);
        }
        for (text, said) in [
            (
                "game: {kl_beta: 11}",
                "algorithm.kl_beta is 11, allowed is 0 to 10",
            ),
            (
                "game: {kl_beta: 0.1}\nalgorithm: {kl_beta: 0.1}",
                "run.yaml:2: algorithm.kl_beta is given on line 1 already",
            ),
            ("algorithm: {kl_beta: 0.1, kl_beta: 0.1}", "duplicate"),
        ] {
            assert!(refusal(text, &[]).contains(said), "{}", refusal(text, &[]));
        }
    }

    #[test]
    fn values_outside_of_their_range_name_key_value_and_range() {
        for (text, said) in [
            (
                "game: {group_size: 1}",
                "run.yaml:1: game.group_size is 1, allowed is 2 to 256",
            ),
            (
                "optimizer: {learning_rate: -1e-3}",
                "optimizer.learning_rate is -0.001, allowed is 0 to 1",
            ),
            (
                "stages: {steps: [1, 2, 3, 4, 99999999]}",
                "stages.steps is 99999999, allowed is 0 to 10000000",
            ),
            (
                "sandbox: {fuel: 0}",
                "sandbox.fuel is 0, allowed is 1 or more",
            ),
            (
                "generator: {hidden_size: 2}",
                "generator.hidden_size is 2, allowed is 16 to 16384",
            ),
        ] {
            assert!(refusal(text, &[]).contains(said), "{}", refusal(text, &[]));
        }
    }

    #[test]
    fn values_of_another_kind_are_refused() {
        for (text, said) in [
            (
                "game: {group_size: eight}",
                "game.group_size is \"eight\", expected whole number",
            ),
            (
                "game: {group_size: 8.5}",
                "game.group_size is 8.5, expected whole number",
            ),
            (
                "game: {group_size: -8}",
                "game.group_size is -8, expected whole number",
            ),
            (
                "game: {group_size: null}",
                "game.group_size is null, expected whole number",
            ),
            (
                "game: {adversary: 1}",
                "game.adversary is 1, expected true or false",
            ),
            (
                "game: {adversary: no}",
                "game.adversary is \"no\", expected true or false",
            ),
            (
                "stages: {steps: [1, 2]}",
                "stages.steps is [1,2], expected list of five",
            ),
            (
                "game: 3",
                "run.yaml:1: game is 3, expected `key: value` lines",
            ),
            (
                "game: [3]",
                "run.yaml:1: game is [3], expected `key: value` lines",
            ),
            (
                "stages: {first: 6}",
                "stages.first is 6, expected stage number, 1 to 5",
            ),
            (
                "checkpoint: {strategy: newest}",
                "expected one of last_n, top_k_val",
            ),
        ] {
            assert!(refusal(text, &[]).contains(said), "{}", refusal(text, &[]));
        }
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let said = refusal(
            "game: {group_size: 1, tau: 2}\nrum: {}\n",
            &["nonsense", "game.kl_beta=x", "a.b=1"],
        );
        assert_eq!(said.lines().count(), 7, "{said}");
    }

    #[test]
    fn text_that_is_no_mapping_of_mappings_is_a_syntax_error_with_its_line() {
        for text in [
            "- 1\n- 2\n",
            "just words",
            "game:\n  a: 1\n a: 2\n",
            "game: {a: 1}\ngame: {b: 2}\n",
            "\t:",
            "game: {1: {",
        ] {
            let error = Config::parse(text, Path::new("run.yaml"), &[]).unwrap_err();
            assert!(
                matches!(error, ConfigError::Syntax { .. }),
                "{text:?}: {error}"
            );
            assert!(error.to_string().contains("line"), "{text:?}: {error}");
        }
    }

    #[test]
    fn overrides_stand_over_the_file_and_the_last_one_wins() {
        let overrides = [
            "game.group_size=5",
            "game.group_size=6",
            "stages.steps=[1,1,1,1,2]",
            "run.name=a=b",
        ];
        let overrides = overrides.map(str::to_owned);
        let config = Config::parse(
            "game:\n  group_size: 4\n  kl_beta: 0.5\n",
            Path::new("x"),
            &overrides,
        )
        .unwrap();
        assert_eq!((config.game.group_size, config.algorithm.kl_beta), (6, 0.5));
        assert_eq!(
            (config.stages.steps, config.run.name.as_str()),
            ([1, 1, 1, 1, 2], "a=b")
        );
    }

    #[test]
    fn a_text_on_the_command_line_stands_as_it_is_written() {
        let name = |argument: &str| {
            let overrides = [argument.to_owned()];
            let config = Config::parse("", Path::new("x"), &overrides).unwrap();
            config.model.tokenizer
        };
        for (written, read) in [
            ("a#b", "a#b"),
            ("a #b", "a #b"),
            ("#b", "#b"),
            ("!b", "!b"),
            ("=b", "=b"),
            ("a=b=c", "a=b=c"),
            ("*b", "*b"),
            ("&b", "&b"),
            ("@b", "@b"),
            ("%b", "%b"),
            ("- b", "- b"),
            ("{b", "{b"),
            ("[b]", "[b]"),
            ("a: b", "a: b"),
            ("12:30", "12:30"),
            ("0x10", "0x10"),
            ("1e3", "1e3"),
            ("true", "true"),
            ("null", "null"),
            ("42", "42"),
            (" b ", "b"),
            ("\"#b\"", "#b"),
            ("'it''s'", "it's"),
            ("\"a", "\"a"),
            ("\"a\" b", "\"a\" b"),
            ("", ""),
        ] {
            assert_eq!(
                name(&format!("model.tokenizer={written}")),
                read,
                "{written:?}"
            );
        }
        let overrides = ["checkpoint.checkpoint_dir=null", "checkpoint.init_from=#1"];
        let overrides = overrides.map(str::to_owned);
        let config = Config::parse("", Path::new("x"), &overrides).unwrap();
        assert_eq!(config.checkpoint.checkpoint_dir, None);
        assert_eq!(config.checkpoint.init_from.as_deref(), Some("#1"));
        let said = refusal("", &["stages.steps=[1, 2", "game.adversary=#true"]);
        assert!(said.contains("expected list of five"), "{said}");
        assert!(said.contains("expected true or false"), "{said}");
    }

    #[test]
    fn a_tilde_is_the_home_folder_in_every_key_that_holds_a_path() {
        for key in [
            "run.output_dir",
            "problems.dir",
            "model.prompts",
            "generator.prompts",
            "model.tokenizer",
            "model.path",
            "checkpoint.checkpoint_dir",
            "checkpoint.resume_from",
            "checkpoint.init_from",
        ] {
            let (section, name) = key.split_once('.').unwrap();
            let text = format!("{section}: {{{name}: ~/x}}");
            let overrides = [format!("{key}=~/x")];
            for config in [
                Config::parse(&text, Path::new("x"), &[]),
                Config::parse("", Path::new("x"), &overrides),
            ] {
                let json = config.unwrap().to_json();
                let value = json[section][name].as_str().unwrap();
                assert!(
                    value.starts_with('/') && value.ends_with("/x"),
                    "{key}: {value}"
                );
            }
        }
        let said = refusal("run: {output_dir: ~bob/x}", &[]);
        assert!(
            said.contains("run.yaml:1: run.output_dir: ~bob/x: only ~ itself"),
            "{said}"
        );
    }

    #[test]
    fn a_port_alone_is_an_address() {
        let config = Config::parse("monitor: {serve: 7878}", Path::new("x"), &[]).unwrap();
        assert_eq!(config.monitor.serve.as_deref(), Some("7878"));
    }

    #[test]
    fn nothing_given_is_the_default() {
        for text in ["", "# nothing\n", "game:\nrun: {}\n"] {
            assert_eq!(
                Config::parse(text, Path::new("x"), &[]).unwrap(),
                Config::default(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_player_overrides_only_what_it_says() {
        let text = "model: {num_hidden_layers: 4}\ndiscriminator: {hidden_size: 96}\n";
        let config = Config::parse(text, Path::new("x"), &[]).unwrap();
        let model = config.discriminator_model();
        assert_eq!((model.hidden_size, model.num_hidden_layers), (96, 4));
        assert_eq!(config.generator_model(), config.model);
    }
}
