//! What a problem leaves unsaid and its other fields say: the entry point.

use std::collections::{HashMap, HashSet};

use super::schema::Problem;
use super::signature::{Signature, defined_functions, first_error, parse, preorder};

/// Names that tests call and that are not the wanted function.
const BUILTINS: &[&str] = &[
    "abs",
    "all",
    "any",
    "bool",
    "bytes",
    "callable",
    "check",
    "chr",
    "complex",
    "dict",
    "divmod",
    "enumerate",
    "filter",
    "float",
    "frozenset",
    "getattr",
    "hasattr",
    "hash",
    "int",
    "isinstance",
    "iter",
    "len",
    "list",
    "map",
    "max",
    "min",
    "next",
    "object",
    "ord",
    "pow",
    "print",
    "range",
    "repr",
    "reversed",
    "round",
    "set",
    "setattr",
    "sorted",
    "str",
    "sum",
    "super",
    "tuple",
    "type",
    "zip",
    "Exception",
    "ValueError",
    "TypeError",
    "KeyError",
    "IndexError",
];

/// Fills in an entry point that the problem does not name: from its signature, its tests together with its
/// reference, or a header in its statement.
pub fn fill(problem: &mut Problem) {
    if problem.entry_point.is_some() || !problem.script_tests.is_empty() {
        return;
    }
    problem.entry_point = problem
        .signature
        .as_ref()
        .and_then(|text| Signature::parse(text).ok())
        .map(|signature| signature.name)
        .or_else(|| from_tests(problem))
        .or_else(|| from_code(problem.reference.as_deref()?))
        .or_else(|| from_statement(&problem.statement));
}

/// The function that tests written as code call most, and that nothing else defines.
fn from_tests(problem: &Problem) -> Option<String> {
    if problem.code_tests.is_empty() {
        return None;
    }
    let setup = problem.setup.as_deref().unwrap_or_default();
    let mut counts: Vec<(String, usize)> = Vec::new();
    let mut defined: HashSet<String> = names_of(setup).defined;
    for test in &problem.code_tests {
        let names = names_of(&test.code);
        defined.extend(names.defined);
        defined.extend(names_of(&test.setup).defined);
        for name in names.called {
            match counts.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += 1,
                None => counts.push((name, 1)),
            }
        }
    }
    counts.retain(|(name, _)| !defined.contains(name) && !BUILTINS.contains(&name.as_str()));
    let known: HashSet<String> = problem
        .reference
        .as_deref()
        .and_then(|code| defined_functions(code).ok())
        .map(|functions| functions.into_iter().map(|f| f.name).collect())
        .unwrap_or_default();
    let solved = |(name, _): &&(String, usize)| known.is_empty() || known.contains(name);
    let most = counts
        .iter()
        .filter(solved)
        .map(|(_, count)| *count)
        .max()?;
    let found = counts
        .iter()
        .filter(solved)
        .find(|(_, count)| *count == most);
    found.map(|(name, _)| name.clone())
}

/// The only function that code defines.
fn from_code(code: &str) -> Option<String> {
    match defined_functions(code).ok()?.as_slice() {
        [only] => Some(only.name.clone()),
        _ => None,
    }
}

/// The only header that a statement shows.
fn from_statement(statement: &str) -> Option<String> {
    let headers = statement
        .lines()
        .filter_map(|line| line.trim().strip_prefix("def "));
    let mut names: Vec<&str> = headers
        .filter_map(|rest| rest.split_once('(').map(|(name, _)| name.trim()))
        .collect();
    names.dedup();
    match names.as_slice() {
        [only] => Some((*only).to_owned()),
        _ => None,
    }
}

/// Names that code calls and names that it binds.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Called by their bare names, once an occurrence.
    pub called: Vec<String>,
    /// Functions, classes, imports, assigned names.
    pub defined: HashSet<String>,
}

/// The names in code; code that does not parse gives what can be told.
pub(crate) fn names_of(code: &str) -> Names {
    let tree = parse(code);
    let text = |node: tree_sitter::Node<'_>| code[node.byte_range()].to_owned();
    let mut names = Names::default();
    for node in preorder(tree.root_node()) {
        match node.kind() {
            "call" => {
                let function = node.child_by_field_name("function");
                if let Some(function) = function.filter(|f| f.kind() == "identifier") {
                    names.called.push(text(function));
                }
            }
            "function_definition" | "class_definition" => {
                names
                    .defined
                    .extend(node.child_by_field_name("name").map(text));
            }
            "aliased_import" => {
                names
                    .defined
                    .extend(node.child_by_field_name("alias").map(text));
            }
            "import_from_statement" | "import_statement" => {
                let mut cursor = node.walk();
                let imported = node.children_by_field_name("name", &mut cursor);
                names.defined.extend(imported.map(text));
            }
            "assignment" => {
                let left = node.child_by_field_name("left");
                let plain = left.filter(|left| left.kind() == "identifier");
                names.defined.extend(plain.map(text));
            }
            "parameters" => {
                let mut cursor = node.walk();
                names
                    .defined
                    .extend(node.named_children(&mut cursor).map(text));
            }
            _ => {}
        }
    }
    names
}

/// Whether any of `names` stands in the code as a word.
pub fn calls(code: &str, names: &[&str]) -> bool {
    let mut words: HashMap<&str, ()> = HashMap::new();
    for word in code.split(|c: char| c != '_' && !c.is_alphanumeric()) {
        words.insert(word, ());
    }
    names.iter().any(|name| words.contains_key(name))
}

/// Whether code parses as Python.
///
/// # Errors
/// Names the first line that does not.
pub fn parses(code: &str) -> Result<(), String> {
    let tree = parse(code);
    match first_error(tree.root_node()) {
        None => Ok(()),
        Some(node) => Err(format!(
            "does not parse as Python at line {}",
            node.start_position().row + 1
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_entry_point_is_found_where_something_names_it() {
        for (fields, expected) in [
            (json!({"signature": "def f(a)", "tests": []}), Some("f")),
            (json!({"tests": ["assert g(1) == 2"]}), Some("g")),
            (json!({"tests": ["assert set(h([1])) == {1}"]}), Some("h")),
            (
                json!({"tests": ["def check(candidate):\n    assert candidate(1)"]}),
                None,
            ),
            (
                json!({"tests": ["x = help(3)\nassert help(go(1)) and go(x)"],
                       "reference": "def go(a):\n    return a\n"}),
                Some("go"),
            ),
            (
                json!({"reference": "def only(a):\n    return a\n"}),
                Some("only"),
            ),
            (
                json!({"statement": "Complete:\ndef todo(x):\n    ..."}),
                Some("todo"),
            ),
            (
                json!({"tests": [{"stdin": "1", "stdout": "2"}], "reference": "def a(): pass"}),
                None,
            ),
        ] {
            let mut row = json!({"id": "a/b", "statement": "s"});
            for (key, value) in fields.as_object().unwrap() {
                row[key] = value.clone();
            }
            let map = row.as_object().unwrap().clone();
            let problem = Problem::from_json(map).unwrap();
            assert_eq!(problem.entry_point.as_deref(), expected, "{fields}");
        }
    }
}
