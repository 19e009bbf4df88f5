//! Python function headers, read with tree-sitter: a problem's `signature`, and the `def` of its entry point in code.

use std::fmt;

use tree_sitter::{Node, Parser, Tree};

/// The header of a Python function: `def name(params) -> returns`.
///
/// ```
/// # use gauntlet_problems::signature::Signature;
/// let signature = Signature::parse("def repeat(word: str, times: int = 2) -> str").unwrap();
/// assert_eq!(signature.name, "repeat");
/// assert_eq!(signature.params[1].annotation.as_deref(), Some("int"));
/// assert_eq!(signature.params[1].default.as_deref(), Some("2"));
/// assert_eq!(signature.returns.as_deref(), Some("str"));
/// assert_eq!(signature.header(), "def repeat(word, times=2):");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The function's name.
    pub name: String,
    /// The parameters, in order.
    pub params: Vec<Param>,
    /// The return annotation as written, without the arrow.
    pub returns: Option<String>,
}

/// One parameter of a [`Signature`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// The name, with its stars where it has any (`*rest`).
    pub name: String,
    /// The annotation as written.
    pub annotation: Option<String>,
    /// The default value as written.
    pub default: Option<String>,
}

impl Signature {
    /// Reads a header such as `def area(w: float, h: float) -> float`; a closing colon may follow.
    ///
    /// # Errors
    /// Says what is wrong where the text is anything but one function header.
    pub fn parse(header: &str) -> Result<Signature, String> {
        let header = header.trim().trim_end_matches(':').trim_end();
        let source = format!("{header}:\n    pass\n");
        match defined_functions(&source).as_deref() {
            Ok([signature]) => Ok(signature.clone()),
            _ => Err(format!(
                "{header:?} is not one function header such as `def area(w: float, h: float) -> float`"
            )),
        }
    }

    /// How many positional arguments a call may carry: the least, and the most unless `*args` takes any number.
    pub fn arity(&self) -> (usize, Option<usize>) {
        let positional = self.params.iter().filter(|p| !p.name.starts_with('*'));
        let required = positional.clone().filter(|p| p.default.is_none()).count();
        let open = self
            .params
            .iter()
            .any(|p| p.name.starts_with('*') && !p.name.starts_with("**"));
        (required, (!open).then(|| positional.count()))
    }

    /// Whether a call with `count` positional arguments fits.
    pub fn takes(&self, count: usize) -> bool {
        let (least, most) = self.arity();
        count >= least && most.is_none_or(|most| count <= most)
    }

    /// Whether `other` has the same parameters by name, and beyond them only ones with a default.
    pub fn is_kept_by(&self, other: &Signature) -> bool {
        let (same, more) = other
            .params
            .split_at(self.params.len().min(other.params.len()));
        let names = self.param_names();
        same.iter().map(|p| p.name.as_str()).eq(names) && more.iter().all(|p| p.default.is_some())
    }

    /// The first line of a definition, without annotations: `def repeat(word, times=2):`.
    pub fn header(&self) -> String {
        let plain = Signature {
            params: self
                .params
                .iter()
                .map(|param| Param {
                    annotation: None,
                    ..param.clone()
                })
                .collect(),
            returns: None,
            ..self.clone()
        };
        format!("{plain}:")
    }

    /// The parameters' names, in order.
    pub fn param_names(&self) -> Vec<&str> {
        self.params.iter().map(|p| p.name.as_str()).collect()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "def {}(", self.name)?;
        for (index, param) in self.params.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", param.name)?;
            match (&param.annotation, &param.default) {
                (Some(annotation), Some(default)) => write!(f, ": {annotation} = {default}")?,
                (Some(annotation), None) => write!(f, ": {annotation}")?,
                (None, Some(default)) => write!(f, "={default}")?,
                (None, None) => {}
            }
        }
        f.write_str(")")?;
        self.returns
            .as_ref()
            .map_or(Ok(()), |returns| write!(f, " -> {returns}"))
    }
}

/// The functions that `source` defines at its top level, in order.
///
/// # Errors
/// Names the first line that does not parse.
pub fn defined_functions(source: &str) -> Result<Vec<Signature>, String> {
    let tree = parse(source);
    if let Some(node) = first_error(tree.root_node()) {
        return Err(format!(
            "does not parse as Python at line {}",
            node.start_position().row + 1
        ));
    }
    let root = tree.root_node();
    let mut cursor = root.walk();
    let mut found = Vec::new();
    for node in root.named_children(&mut cursor) {
        let definition = match node.kind() {
            "decorated_definition" => node.child_by_field_name("definition"),
            _ => Some(node),
        };
        if let Some(definition) = definition.filter(|node| node.kind() == "function_definition") {
            found.push(header_of(definition, source));
        }
    }
    Ok(found)
}

/// The last top-level `def` called `name`, which is the one that a call reaches.
///
/// # Errors
/// Says that `source` does not parse, or that it has no such function and which it has.
pub fn find_function(source: &str, name: &str) -> Result<Signature, String> {
    let functions = defined_functions(source)?;
    let names: Vec<String> = functions.iter().map(|f| format!("`{}`", f.name)).collect();
    functions
        .into_iter()
        .rfind(|f| f.name == name)
        .ok_or_else(|| match names.len() {
            0 => format!("defines no function; it must define `{name}` at its top level"),
            _ => format!(
                "defines {}; it must define `{name}` at its top level",
                names.join(", ")
            ),
        })
}

/// The definition that an entry point names: a top-level function, or for `Class.method` the method without its first
/// parameter, which is the instance.
///
/// # Errors
/// As [`find_function`].
pub fn find_entry(source: &str, entry_point: &str) -> Result<Signature, String> {
    let Some((class, method)) = entry_point.rsplit_once('.') else {
        return find_function(source, entry_point);
    };
    defined_functions(source)?;
    let tree = parse(source);
    let root = tree.root_node();
    let text = |node: Node<'_>| &source[node.byte_range()];
    let mut cursor = root.walk();
    let body = root
        .named_children(&mut cursor)
        .filter(|node| node.kind() == "class_definition")
        .filter(|node| node.child_by_field_name("name").map(text) == Some(class))
        .filter_map(|node| node.child_by_field_name("body"))
        .last()
        .ok_or_else(|| format!("defines no class `{class}` with a method `{method}`"))?;
    let mut cursor = body.walk();
    let mut methods = Vec::new();
    for node in body.named_children(&mut cursor) {
        let definition = match node.kind() {
            "decorated_definition" => node.child_by_field_name("definition"),
            _ => Some(node),
        };
        if let Some(definition) = definition.filter(|node| node.kind() == "function_definition") {
            methods.push(header_of(definition, source));
        }
    }
    let mut found = methods
        .into_iter()
        .rfind(|found| found.name == method)
        .ok_or_else(|| format!("defines no method `{method}` in its class `{class}`"))?;
    if !found.params.is_empty() {
        found.params.remove(0);
    }
    Ok(found)
}

/// Parses Python. The tree may hold ERROR nodes.
pub(super) fn parse(source: &str) -> Tree {
    let mut parser = Parser::new();
    parser
        .set_language(&tree_sitter_python::LANGUAGE.into())
        .expect("the pinned grammar has tree-sitter's ABI");
    parser
        .parse(source, None)
        .expect("parsing has a language and is never cancelled")
}

/// The first node that is an error or was inserted to repair one.
pub(super) fn first_error(root: Node<'_>) -> Option<Node<'_>> {
    preorder(root).find(|node| node.is_error() || node.is_missing())
}

/// Every node below `root` and itself, parents first; no recursion, so that no depth of nesting
/// overflows the stack.
pub(super) fn preorder(root: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    let mut cursor = root.walk();
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let node = cursor.node();
        if !cursor.goto_first_child() {
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    done = true;
                    break;
                }
            }
        }
        Some(node)
    })
}

fn header_of(definition: Node<'_>, source: &str) -> Signature {
    let text = |node: Node<'_>| source[node.byte_range()].to_owned();
    let field = |node: Node<'_>, name: &str| node.child_by_field_name(name).map(text);
    let mut params = Vec::new();
    if let Some(list) = definition.child_by_field_name("parameters") {
        let mut cursor = list.walk();
        for node in list.named_children(&mut cursor) {
            let name = match node.kind() {
                "comment" | "positional_separator" | "keyword_separator" => continue,
                "typed_parameter" => node.named_child(0).map(text),
                "default_parameter" | "typed_default_parameter" => field(node, "name"),
                _ => Some(text(node)),
            };
            params.push(Param {
                name: name.unwrap_or_default(),
                annotation: field(node, "type"),
                default: field(node, "value"),
            });
        }
    }
    Signature {
        name: field(definition, "name").unwrap_or_default(),
        params,
        returns: field(definition, "return_type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_written() {
        for header in [
            "def f()",
            "def f(a, b)",
            "def f(a: int, b: list[tuple[int, str]]) -> dict[str, int]",
            "def f(a: int = 3, *rest: int) -> int | None",
            "def f(a=3, **named) -> \"list[int]\"",
        ] {
            assert_eq!(Signature::parse(header).unwrap().to_string(), header);
            assert_eq!(
                Signature::parse(&format!(" {header}: "))
                    .unwrap()
                    .to_string(),
                header
            );
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for text in [
            "",
            "f(a, b)",
            "def f(a, b",
            "def f(a)\ndef g(b)",
            "def f(a): return 1\ndef g()",
            "lambda x: x",
        ] {
            assert!(
                Signature::parse(text).is_err(),
                "{text:?} was read as a header"
            );
        }
    }

    #[test]
    fn arity_counts_defaults_and_stars() {
        let takes = |header: &str, count| Signature::parse(header).unwrap().takes(count);
        assert!(takes("def f(a, b=1)", 1) && takes("def f(a, b=1)", 2));
        assert!(!takes("def f(a, b=1)", 0) && !takes("def f(a, b=1)", 3));
        assert!(takes("def f(a, *rest)", 9) && !takes("def f(a, *rest)", 0));
        assert!(!takes("def f(a, **named)", 2));
    }

    #[test]
    fn a_definition_keeps_the_names_and_may_add_defaults() {
        let keeps = |wanted: &str, found: &str| {
            Signature::parse(wanted)
                .unwrap()
                .is_kept_by(&Signature::parse(found).unwrap())
        };
        assert!(keeps("def f(a: int, b: str) -> int", "def f(a, b)"));
        assert!(keeps("def f(a: int)", "def f(a, depth=1)"));
        assert!(!keeps("def f(a: int)", "def f(a, depth)"));
        assert!(!keeps("def f(a, b)", "def f(a)"));
        assert!(!keeps("def f(a, b)", "def f(b, a)"));
    }

    #[test]
    fn only_the_top_level_counts_and_the_last_definition_wins() {
        let source = "class A:\n    def f(self): pass\n\ndef f(x): return 1\n\n@cache\ndef f(a, b): return 2\n";
        assert_eq!(
            find_function(source, "f").unwrap().param_names(),
            ["a", "b"]
        );
        let missing = find_function("def g(): pass\ndef h(): pass", "f").unwrap_err();
        assert!(
            missing.contains("`g`, `h`") && missing.contains("`f`"),
            "{missing}"
        );
        assert!(
            find_function("def f(:\n  pass", "f")
                .unwrap_err()
                .contains("line 1")
        );
    }
}
