//! The configurations that ship, and the documents that are made from the keys.

use std::path::{Path, PathBuf};

use gauntlet::config::{Config, ConfigError};
use gauntlet::stage::Stage;

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect()
}

#[test]
fn every_shipped_configuration_is_right() {
    let paths = shipped();
    assert!(paths.iter().any(|path| path.ends_with("tiny.yaml")));
    for path in paths {
        let config = Config::load(Some(&path), &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.run.name, path.file_stem().unwrap().to_str().unwrap());
    }
}

#[test]
fn the_defaults_are_tiny_yaml() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny.yaml");
    let tiny = Config::load(Some(&path), &[]).unwrap();
    let differences: Vec<String> = tiny
        .differences(&Config::default())
        .into_iter()
        .map(|(key, file, default)| {
            format!("{}: {file} in tiny.yaml, default {default}", key.path())
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_help_explains_every_key() {
    let help = Config::help();
    for key in Config::keys() {
        assert!(
            help.contains(&format!("\n  {}: {}", key.name, key.default)),
            "{}",
            key.path()
        );
        assert!(
            key.help.ends_with('.'),
            "{}: help is a sentence",
            key.path()
        );
    }
}

#[test]
fn the_keys_are_the_fields_of_the_resolved_configuration() {
    let json = Config::default().to_json();
    let fields: Vec<String> = json
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(section, keys)| {
            keys.as_object()
                .unwrap()
                .keys()
                .map(move |key| format!("{section}.{key}"))
        })
        .collect();
    let keys: Vec<String> = Config::keys().iter().map(|key| key.path()).collect();
    assert_eq!(fields, keys);
}

#[test]
fn every_default_lies_in_its_range() {
    for key in Config::keys().iter().filter(|key| !key.default.is_null()) {
        let [section, name, value] =
            [key.section, key.name, &key.default.to_string()].map(str::to_owned);
        Config::load(None, &[format!("{section}.{name}={value}")])
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn config_json_reads_back_as_the_same_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let overrides = [
        "optimizer.learning_rate=0.1",
        "run.tags={why: \"a: b\"}",
        "stages.first=2",
        "run.seed=18446744073709551615",
    ];
    let config = Config::load(None, &overrides.map(str::to_owned)).unwrap();
    std::fs::write(
        &path,
        serde_json::to_string_pretty(&config.to_json()).unwrap(),
    )
    .unwrap();
    assert_eq!(Config::load(Some(&path), &[]).unwrap(), config);
    let changed: Vec<String> = config
        .differences(&Config::default())
        .iter()
        .map(|(key, ..)| key.path())
        .collect();
    assert_eq!(
        changed,
        [
            "run.seed",
            "run.tags",
            "stages.first",
            "optimizer.learning_rate"
        ]
    );
    assert_eq!(config.planned_stages().next().unwrap().0, Stage::Structured);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin.yaml");
    std::fs::write(&path, b"run: {name: caf\xe9}\n").unwrap();
    for path in [
        path,
        folder.path().join("absent.yaml"),
        folder.path().to_owned(),
    ] {
        let error = Config::load(Some(&path), &[]).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}
