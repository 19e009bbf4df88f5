//! The rules of the tree, as tests: who may import whom, sizes, leftovers.

mod code;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use code::code_only;
use tree::{ALL, depth, read, rust_files, text_files, top_module};

/// The modules of `src/`, in the order in which they may import one another: each knows only those that stand before it.
const ORDER: [&[&str]; 6] = [
    // Plain values, without tensors.
    PLAIN,
    // The models.
    &[
        "model",
        "algo",
        "loss",
        "optimizer",
        "encoding",
        "generator",
        "discriminator",
        "players",
    ],
    // Execution and measurement.
    &["source", "execution", "evaluation"],
    // Training: gradients, a step, phases of steps, a run of phases.
    &["update", "game", "error", "phases", "run"],
    // The edge.
    &["monitor", "cli"],
    &["bin"],
];

const PLAIN: &[&str] = &[
    "rng",
    "stage",
    "interrupt",
    "config",
    "rollout",
    "prompts",
    "attacks",
    "results",
    "mistake_book",
    "own_chains",
    "metrics",
    "rewards",
    "batch",
];

/// Crates of their own that `src/lib.rs` names as modules; all modules may import them.
const CRATES: &[&str] = &["checkpoint", "extract", "problems"];

/// A longer file is read in pieces, so it is written in pieces.
const MAX_LINES: usize = 600;

#[test]
fn a_module_imports_only_what_stands_above_it() {
    let mut findings = Vec::new();
    for path in rust_files(&["src"]) {
        let module = top_module(&path);
        if module != "lib" {
            let names = import_findings(&module, depth(&path), &read(&path));
            findings.extend(
                names
                    .into_iter()
                    .map(|finding| format!("{}: {finding}", path.display())),
            );
        }
    }
    report(&findings);
}

#[test]
fn files_of_a_folder_import_one_another_in_no_circle() {
    let mut folders: BTreeMap<PathBuf, BTreeMap<String, String>> = BTreeMap::new();
    for path in rust_files(&FOLDERS_IN_ORDER) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_stem()) else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        if !["mod", "lib", "main", "tests"].contains(&name.as_str()) && folder != Path::new("src") {
            let source = without_tests(&code_only(&read(&path)));
            folders
                .entry(folder.to_owned())
                .or_default()
                .insert(name, source);
        }
    }
    let findings = folders.iter().flat_map(|(folder, files)| {
        circles(files)
            .into_iter()
            .map(|circle| format!("{}: {}", folder.display(), circle.join(" -> ")))
    });
    report(&findings.collect::<Vec<_>>());
}

#[test]
fn every_module_has_a_place_in_the_order() {
    let declared: BTreeSet<String> = code_only(&read(Path::new("src/lib.rs")))
        .lines()
        .filter_map(|line| {
            Some(
                line.trim()
                    .strip_prefix("pub mod ")?
                    .trim_end_matches(';')
                    .to_owned(),
            )
        })
        .collect();
    let ordered: BTreeSet<String> = ORDER
        .concat()
        .iter()
        .filter(|name| **name != "bin")
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(
        declared, ordered,
        "src/lib.rs (left) and the order above (right)"
    );
}

#[test]
fn files_are_short_enough_to_read() {
    let long = rust_files(&ALL).into_iter().filter_map(|path| {
        let lines = read(&path).lines().count();
        (lines > MAX_LINES)
            .then(|| format!("{}: {lines} lines, at most {MAX_LINES}", path.display()))
    });
    report(&long.collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_over() {
    let findings = rust_files(&ALL).into_iter().flat_map(|path| {
        let found = leftovers(&read(&path));
        found
            .into_iter()
            .map(move |finding| format!("{}: {finding}", path.display()))
    });
    report(&findings.collect::<Vec<_>>());
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let roots = [
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["/Us", "ers/"],
        ["/wo", "rk/"],
    ]
    .map(|parts| parts.concat());
    let mut findings = Vec::new();
    for path in text_files() {
        for (number, line) in read(&path).lines().enumerate() {
            // A path, not the middle of one: `docs/work/` is fine.
            let found = roots.iter().find(|root| {
                line.match_indices(root.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~".contains(c))
                })
            });
            if let Some(root) = found {
                findings.push(format!(
                    "{}:{}: a path below {root}",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    report(&findings);
}

/// `println!` and `eprintln!` panic where nobody takes what they print, which would end a training.
#[test]
fn nothing_prints_with_a_macro_that_panics() {
    let findings = rust_files(&["src", "checkpoint", "problems", "inference"])
        .into_iter()
        // What a build script prints is for cargo.
        .filter(|path| !path.ends_with("build.rs"))
        .flat_map(|path| {
            let found = printing(&read(&path));
            let named =
                move |name| format!("{} holds {name}; see src/cli/output.rs", path.display());
            found.into_iter().map(named)
        });
    report(&findings.collect::<Vec<_>>());
}

// ---- the rules on made-up text: each must be able to fail ----

#[test]
fn the_import_rule_can_fail() {
    let cases: [(&str, usize, &str, &[&str]); 11] = [
        ("loss", 1, "use crate::run::Trainer;", &["imports run"]),
        (
            "loss",
            1,
            "use crate::{model::Transformer, generator};",
            &["imports generator"],
        ),
        (
            "loss",
            1,
            "fn f() { crate::phases::warm_up() }",
            &["imports phases"],
        ),
        ("loss", 1, "use super::cli;", &["imports cli"]),
        ("model", 2, "use super::super::loss;", &["imports loss"]),
        ("batch", 1, "use tch::Tensor;", &["uses tch"]),
        (
            "batch",
            1,
            "use crate::unheard_of::X;",
            &["unheard_of, which has no place"],
        ),
        ("unheard_of", 1, "", &["unheard_of has no place"]),
        // Allowed: what stands before, the module itself, and words in comments and strings.
        (
            "run",
            2,
            "use crate::loss; use crate::run::saving; use super::state;",
            &[],
        ),
        (
            "loss",
            1,
            "/// See [`crate::run`].\n// use crate::cli;\nconst S: &str = \"crate::cli\";",
            &[],
        ),
        ("loss", 1, "mod tests { use super::*; }", &[]),
    ];
    for (module, depth, source, expected) in cases {
        let found = import_findings(module, depth, source);
        assert_eq!(
            found.len(),
            expected.len(),
            "{source:?} in {module}: {found:?}"
        );
        for (finding, part) in found.iter().zip(expected) {
            assert!(finding.contains(part), "{source:?} in {module}: {finding}");
        }
    }
}

#[test]
fn the_printing_rule_can_fail() {
    for name in PRINTING {
        let source = format!("fn f() {{ {name}(\"x\") }}");
        assert_eq!(printing(&source), [name], "{source}");
        assert_eq!(printing(&format!("// {name}(\"x\")")), [""; 0]);
    }
}

#[test]
fn the_leftover_rule_can_fail() {
    let words = [
        ["todo", "!()"],
        ["unimplemented", "!()"],
        ["#[al", "low(x)]"],
        ["#![al", "low(x)]"],
        ["// FIX", "ME"],
    ];
    for words in words {
        let source = words.concat();
        assert_eq!(leftovers(&source).len(), 1, "{source}");
    }
    let word = ["to", "do!"].concat();
    let talk = format!("const S: &str = \"{word}()\"; // {word} as a word is talk");
    assert_eq!(leftovers(&talk), Vec::<String>::new());
}

#[test]
fn the_circle_rule_can_fail() {
    let files = |sources: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = |(name, source): &(&str, &str)| ((*name).to_owned(), (*source).to_owned());
        sources.iter().map(owned).collect()
    };
    let chain = files(&[("a", "use super::b::B;"), ("b", "use super::c;"), ("c", "")]);
    assert!(circles(&chain).is_empty());
    let circle = files(&[
        ("a", "use super::{b::B, d};"),
        ("b", "use super::c;"),
        ("c", "super::a::f()"),
        ("d", ""),
    ]);
    assert_eq!(circles(&circle), [["a", "b", "c"]]);
}

// ---- the rules ----

/// Where the files of a folder import one another in no circle.
const FOLDERS_IN_ORDER: [&str; 12] = [
    "src/algo",
    "src/bin",
    "src/cli",
    "src/config",
    "src/encoding",
    "src/evaluation",
    "src/game",
    "src/metrics",
    "src/phases",
    "src/players",
    "src/rewards",
    "src/run",
];

/// The files of one folder that import one another in a circle, by name: each strongly connected set once.
fn circles(files: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    let imports = |source: &str| -> BTreeSet<String> {
        let names = paths_after(source, "super::").flat_map(first_names);
        names.filter(|name| files.contains_key(name)).collect()
    };
    let direct: BTreeMap<&String, BTreeSet<String>> = files
        .iter()
        .map(|(name, source)| (name, imports(source)))
        .collect();
    let reached = |from: &String| -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&String> = direct[from].iter().collect();
        while let Some(name) = open.pop() {
            if seen.insert(name.clone()) {
                open.extend(&direct[name]);
            }
        }
        seen
    };
    let all: BTreeMap<&String, BTreeSet<String>> =
        files.keys().map(|name| (name, reached(name))).collect();
    let mut found: Vec<Vec<String>> = Vec::new();
    for (name, reach) in &all {
        let circle: Vec<String> = reach
            .iter()
            .filter(|other| all[other].contains(*name))
            .cloned()
            .collect();
        if circle.len() > 1 && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

/// The source up to its tests, which may look at anything.
fn without_tests(code: &str) -> String {
    let end = code.find("#[cfg(test)]\nmod tests").unwrap_or(code.len());
    code[..end].to_owned()
}

/// What a source file of `module` imports that it may not. `depth` is 1 for `src/x.rs` and 2 for `src/x/y.rs`.
fn import_findings(module: &str, depth: usize, source: &str) -> Vec<String> {
    let order = ORDER.concat();
    let place = |name: &str| order.iter().position(|other| *other == name);
    let Some(own) = place(module) else {
        return vec![format!("{module} has no place in the order")];
    };
    let code = code_only(source);
    let mut findings = Vec::new();
    if PLAIN.contains(&module) && paths_after(&code, "tch::").next().is_some() {
        findings.push(format!("{module} is of plain values, but uses tch"));
    }
    let of_crate = paths_after(&code, "crate::")
        .flat_map(|rest| first_names(rest).into_iter().map(|name| (name, true)));
    let climb = "super::".repeat(depth);
    // A name that only looks like it climbs to the root, from an inline module, need not be one of ours.
    let of_super = paths_after(&code, &climb)
        .flat_map(|rest| first_names(rest).into_iter().map(|name| (name, false)));
    for (name, must_be_known) in of_crate.chain(of_super) {
        match place(&name) {
            Some(other) if other > own => {
                findings.push(format!("{module} imports {name}, which stands below it"))
            }
            Some(_) => {}
            None if must_be_known && !CRATES.contains(&name.as_str()) => findings.push(format!(
                "{module} imports {name}, which has no place in the order"
            )),
            None => {}
        }
    }
    findings
}

/// What follows each `prefix` that starts a path.
fn paths_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(prefix).filter_map(move |(at, _)| {
        let starts = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        starts.then(|| &code[at + prefix.len()..])
    })
}

/// The first name of a path, or of each path of a group in braces; globs have none.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)]
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect();
    };
    let mut depth = 1;
    let mut parts = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => parts.push(String::new()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if let Some(last) = parts.last_mut().filter(|_| c != ',' || depth > 1) {
            last.push(c);
        }
    }
    parts
        .iter()
        .map(|part| name(part))
        .filter(|name| !name.is_empty() && name != "self")
        .collect()
}

const PRINTING: [&str; 4] = ["println!", "eprintln!", "print!", "eprint!"];

/// The macros that print in a source file.
fn printing(source: &str) -> Vec<&'static str> {
    let code = code_only(source);
    let holds = |name: &&str| {
        code.match_indices(*name)
            .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    PRINTING.into_iter().filter(holds).collect()
}

fn leftovers(source: &str) -> Vec<String> {
    let code = code_only(source);
    // In pieces, so that this file is not its own finding.
    let in_code = [
        ["to", "do!"],
        ["unimpl", "emented!"],
        ["#[al", "low("],
        ["#![al", "low("],
    ]
    .map(|parts| parts.concat());
    let in_comments = [["FIX", "ME"], ["XX", "X"]].map(|parts| parts.concat());
    let mut findings: Vec<String> = in_code
        .iter()
        .filter(|word| code.contains(word.as_str()))
        .map(|word| format!("holds {word}"))
        .collect();
    findings.extend(
        in_comments
            .iter()
            .filter(|word| source.contains(word.as_str()))
            .map(|word| format!("holds {word}")),
    );
    findings
}

fn report(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
