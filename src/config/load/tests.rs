//! The configuration as files and overrides have it.

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
        "run.output_dir=a=b",
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
        (
            config.stages.steps,
            config.run.output_dir.to_string_lossy().as_ref()
        ),
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
