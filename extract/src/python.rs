//! Parsed Python: the statements of a module, what each defines, and whether that is more than a signature.

use std::cell::{Cell, RefCell};

use tree_sitter::{Node, Parser, Tree};

use crate::lexer::Lexer;
use crate::scopes::{Names, names};

/// The class whose methods may be called by their bare names.
pub(crate) const SOLUTION: &str = "Solution";

/// How much source is parsed for one completion, at most: beyond it nothing parses. Bounds the work that text which is
/// made to look like code can cause.
const MAX_BYTES: usize = 4 << 20;

/// A parser with a budget.
pub(crate) struct Python {
    parser: RefCell<Parser>,
    left: Cell<usize>,
}

/// The statements of a program.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) statements: Vec<Statement>,
    /// Whether all of it parses.
    pub(crate) parses: bool,
}

/// A statement of the top level.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) start: usize,
    pub(crate) kind: &'static str,
    pub(crate) binds: Vec<String>,
    pub(crate) names: Names,
    pub(crate) is_function: bool,
    pub(crate) class: Option<String>,
    pub(crate) methods: Vec<Method>,
    /// Whether what it binds is more than a signature, an import or a plain value.
    strong: bool,
}

/// A method of a class.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: String,
    stub: bool,
}

/// How well a program defines a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strength {
    /// It looks so, but the program does not parse.
    Broken,
    /// A signature without a body, an import, a plain value.
    Weak,
    /// A definition.
    Strong,
}

impl Python {
    pub(crate) fn new() -> Python {
        let mut parser = Parser::new();
        parser
            .set_language(&tree_sitter_python::LANGUAGE.into())
            .expect("the pinned grammar has tree-sitter's ABI");
        Python {
            parser: RefCell::new(parser),
            left: Cell::new(MAX_BYTES),
        }
    }

    fn tree(&self, source: &str) -> Option<Tree> {
        // Recovering from a bracket or string that is never closed takes time that grows with the square of the length.
        let mut lexer = Lexer::default();
        source.lines().for_each(|line| lexer.line(line));
        if lexer.is_open() {
            return None;
        }
        let left = self.left.get().checked_sub(source.len());
        self.left.set(left.unwrap_or(0));
        left?;
        self.parser.borrow_mut().parse(source, None)
    }

    /// Whether the budget is used up, so that nothing more parses.
    pub(crate) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    /// Whether the source has no syntax error that the grammar knows.
    pub(crate) fn parses(&self, source: &str) -> bool {
        self.tree(source)
            .is_some_and(|tree| is_sound(tree.root_node(), source))
    }

    /// Whether the source parses and is what programs are made of, not a sentence that happens to parse.
    pub(crate) fn is_code(&self, source: &str) -> bool {
        let Some(tree) = self.tree(source) else {
            return false;
        };
        let root = tree.root_node();
        let mut cursor = root.walk();
        is_sound(root, source) && root.named_children(&mut cursor).all(is_statement)
    }

    pub(crate) fn module(&self, source: &str) -> Module {
        let Some(tree) = self.tree(source) else {
            return Module::default();
        };
        let root = tree.root_node();
        let mut cursor = root.walk();
        let statements = root
            .named_children(&mut cursor)
            .filter(|node| node.kind() != "comment")
            .map(|node| Statement::new(node, source));
        Module {
            statements: statements.collect(),
            parses: is_sound(root, source),
        }
    }
}

impl Module {
    /// Whether it parses and has a function, a class or a lambda of its own.
    pub(crate) fn defines_something(&self) -> bool {
        self.parses
            && self
                .statements
                .iter()
                .any(|s| s.strong && !s.binds.is_empty())
    }

    /// How well `entry_point` is defined; None where it is not.
    pub(crate) fn strength(&self, entry_point: &str, source: &str) -> Option<Strength> {
        let (class, name) = split(entry_point);
        if !self.parses {
            return looks_defined(source, name).then_some(Strength::Broken);
        }
        let of = |statement: &Statement| statement.strength(class, name);
        self.statements.iter().filter_map(of).max()
    }
}

impl Statement {
    fn new(node: Node<'_>, source: &str) -> Statement {
        let text = |node: Node<'_>| source[node.byte_range()].to_owned();
        let names = names(node, source);
        let definition = match node.kind() {
            "decorated_definition" => node.child_by_field_name("definition").unwrap_or(node),
            _ => node,
        };
        let is_class = definition.kind() == "class_definition";
        let named = |node: Node<'_>| node.child_by_field_name("name").map(text);
        let inner = node.named_child(0).unwrap_or(node);
        // A bare annotation binds nothing.
        let value = inner.child_by_field_name("right");
        let is_assignment = node.kind() == "expression_statement" && inner.kind() == "assignment";
        let binds = match is_assignment && value.is_none() {
            true => Vec::new(),
            false => names.binds.clone(),
        };
        let strong = match definition.kind() {
            "function_definition" => !is_stub(definition, source),
            "class_definition" => true,
            "if_statement" | "try_statement" | "with_statement" | "match_statement" => true,
            "expression_statement" if is_assignment => value.is_some_and(is_callable_value),
            _ => false,
        };
        Statement {
            text: text(node),
            start: node.start_byte(),
            kind: node.kind(),
            binds,
            is_function: definition.kind() == "function_definition",
            class: named(definition).filter(|_| is_class),
            methods: match is_class {
                true => methods(definition, source),
                false => Vec::new(),
            },
            strong,
            names,
        }
    }

    /// How well the statement defines `name`, as a method of `class` if one is given.
    pub(crate) fn strength(&self, class: Option<&str>, name: &str) -> Option<Strength> {
        let found = if class.is_none() && self.binds.iter().any(|bound| bound == name) {
            !self.strong
        } else {
            let class = class.unwrap_or(SOLUTION);
            let is_it = self.class.as_deref() == Some(class);
            let method = self.methods.iter().rfind(|m| is_it && m.name == name)?;
            method.stub
        };
        Some(if found {
            Strength::Weak
        } else {
            Strength::Strong
        })
    }

    /// A function or class that is no test.
    pub(crate) fn is_own_definition(&self) -> bool {
        let name = self.binds.first().map_or("", String::as_str);
        let is_test = name.starts_with("test") || name.starts_with("Test") || name == "check";
        (self.is_function || self.class.is_some()) && self.strong && !is_test
    }

    /// Whether running it does something: not a definition, an assignment, an assertion, or a value alone.
    pub(crate) fn acts(&self) -> bool {
        match self.kind {
            "expression_statement" => self.text.contains('(') && self.binds.is_empty(),
            "if_statement" | "for_statement" | "while_statement" | "with_statement" => true,
            "try_statement" | "match_statement" => true,
            _ => false,
        }
    }

    /// Whether it is more than a value.
    pub(crate) fn is_statement(&self) -> bool {
        self.kind != "expression_statement" || self.acts() || !self.binds.is_empty()
    }
}

/// Whether the tree has no error, and nothing of Python 2, which the grammar knows too: strings between backticks, print and
/// exec as statements.
fn is_sound(root: Node<'_>, source: &str) -> bool {
    if root.has_error() {
        return false;
    }
    if !["`", "print ", "exec "]
        .iter()
        .any(|old| source.contains(old))
    {
        return true;
    }
    let mut cursor = root.walk();
    loop {
        let node = cursor.node();
        let is_old = match node.kind() {
            "print_statement" | "exec_statement" => true,
            "string_start" => source[node.byte_range()].contains('`'),
            _ => false,
        };
        if is_old {
            return false;
        }
        if cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return true;
            }
        }
    }
}

/// The class and the name that an entry point is made of: `Solution().add`, `Solution.add`, `add`.
fn split(entry_point: &str) -> (Option<&str>, &str) {
    match entry_point.rsplit_once('.') {
        Some((class, name)) => (Some(class.trim_end_matches("()")), name),
        None => (None, entry_point),
    }
}

/// Whether a line looks like the definition of `name`.
fn looks_defined(source: &str, name: &str) -> bool {
    source.lines().any(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line);
        let rest = line
            .strip_prefix("def ")
            .or_else(|| line.strip_prefix("class "))
            .and_then(|rest| rest.trim_start().strip_prefix(name));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

fn methods(class: Node<'_>, source: &str) -> Vec<Method> {
    let Some(body) = class.child_by_field_name("body") else {
        return Vec::new();
    };
    let mut cursor = body.walk();
    let found: Vec<Node> = body.named_children(&mut cursor).collect();
    let method = |node: Node<'_>| {
        let definition = match node.kind() {
            "decorated_definition" => node.child_by_field_name("definition")?,
            "function_definition" => node,
            _ => return None,
        };
        Some(Method {
            name: source[definition.child_by_field_name("name")?.byte_range()].to_owned(),
            stub: is_stub(definition, source),
        })
    };
    found.into_iter().filter_map(method).collect()
}

/// Whether a function has no body to speak of: nothing, a docstring, `...`, `pass`, `raise NotImplementedError`.
fn is_stub(function: Node<'_>, source: &str) -> bool {
    let Some(body) = function.child_by_field_name("body") else {
        return true;
    };
    let mut cursor = body.walk();
    body.named_children(&mut cursor)
        .all(|statement| match statement.kind() {
            "comment" | "pass_statement" => true,
            "expression_statement" => statement
                .named_child(0)
                .is_none_or(|value| matches!(value.kind(), "string" | "ellipsis")),
            "raise_statement" => source[statement.byte_range()].contains("NotImplementedError"),
            _ => false,
        })
}

fn is_callable_value(value: Node<'_>) -> bool {
    matches!(
        value.kind(),
        "lambda" | "call" | "identifier" | "attribute" | "conditional_expression" | "subscript"
    )
}

/// Whether a node of the top level is what programs are made of. Prose that parses is none: single words, comparisons
/// ("this is it"), bare annotations ("Note: this").
fn is_statement(node: Node<'_>) -> bool {
    match node.kind() {
        "expression_statement" => node.named_child(0).is_some_and(|value| match value.kind() {
            "assignment" => value.child_by_field_name("right").is_some(),
            "augmented_assignment" | "call" | "await" | "string" | "concatenated_string" => true,
            _ => false,
        }),
        "function_definition" => node
            .child_by_field_name("body")
            .is_some_and(|body| body.named_child_count() > 0),
        "return_statement" => false,
        _ => true,
    }
}
