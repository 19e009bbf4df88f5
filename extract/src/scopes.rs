//! Which names a statement binds at the top level, and which it needs from there.

use std::collections::{BTreeSet, HashSet};

use tree_sitter::Node;

/// The names of one statement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Bound at the top level, in order.
    pub(crate) binds: Vec<String>,
    /// Looked up there or among the builtins.
    pub(crate) needs: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Module,
    Function,
    Class,
    Comprehension,
}

struct Scope<'a> {
    kind: Kind,
    parent: usize,
    bound: HashSet<&'a str>,
    /// Declared `global` or `nonlocal`.
    outer: HashSet<&'a str>,
}

struct Walk<'a> {
    source: &'a str,
    scopes: Vec<Scope<'a>>,
    /// Depth and number of the scopes that the present node lies in.
    within: Vec<(usize, usize)>,
    /// Kind and field of the present node's ancestors, and its own.
    path: Vec<(&'static str, Option<&'static str>)>,
    uses: Vec<(usize, &'a str)>,
    binds: Vec<String>,
}

/// The names of a statement of the top level. No recursion, so that no depth of nesting overflows the stack.
pub(crate) fn names(statement: Node<'_>, source: &str) -> Names {
    let mut walk = Walk {
        source,
        scopes: vec![Scope {
            kind: Kind::Module,
            parent: 0,
            bound: HashSet::new(),
            outer: HashSet::new(),
        }],
        within: Vec::new(),
        path: Vec::new(),
        uses: Vec::new(),
        binds: Vec::new(),
    };
    let mut cursor = statement.walk();
    'tree: loop {
        let depth = cursor.depth() as usize;
        walk.visit(cursor.node(), cursor.field_name(), depth);
        if cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                break 'tree;
            }
        }
    }
    let needs = walk
        .uses
        .iter()
        .filter(|(scope, name)| walk.is_of_module(*scope, name))
        .map(|(_, name)| (*name).to_owned())
        .collect();
    Names {
        binds: walk.binds,
        needs,
    }
}

impl<'a> Walk<'a> {
    fn visit(&mut self, node: Node<'_>, field: Option<&'static str>, depth: usize) {
        self.path.truncate(depth);
        self.path.push((node.kind(), field));
        while self.within.last().is_some_and(|&(at, _)| at >= depth) {
            self.within.pop();
        }
        let scope = self.within.last().map_or(0, |&(_, scope)| scope);
        let kind = match node.kind() {
            "function_definition" | "lambda" => Kind::Function,
            "class_definition" => Kind::Class,
            "list_comprehension"
            | "set_comprehension"
            | "dictionary_comprehension"
            | "generator_expression" => Kind::Comprehension,
            "import_statement" | "import_from_statement" => return self.import(node, scope),
            "identifier" => return self.identifier(node, scope, depth),
            _ => return,
        };
        if let Some(name) = node.child_by_field_name("name") {
            self.bind(scope, name);
        }
        self.within.push((depth, self.scopes.len()));
        self.scopes.push(Scope {
            kind,
            parent: scope,
            bound: HashSet::new(),
            outer: HashSet::new(),
        });
    }

    fn text(&self, node: Node<'_>) -> &'a str {
        &self.source[node.byte_range()]
    }

    fn bind(&mut self, scope: usize, node: Node<'_>) {
        let name = self.text(node);
        if scope == 0 && !self.binds.iter().any(|known| known == name) {
            self.binds.push(name.to_owned());
        }
        self.scopes[scope].bound.insert(name);
    }

    fn import(&mut self, node: Node<'_>, scope: usize) {
        let mut cursor = node.walk();
        let names: Vec<Node> = node.children_by_field_name("name", &mut cursor).collect();
        for name in names {
            let bound = match name.kind() {
                "aliased_import" => name.child_by_field_name("alias"),
                _ => name.named_child(0),
            };
            if let Some(bound) = bound {
                self.bind(scope, bound);
            }
        }
    }

    fn identifier(&mut self, node: Node<'_>, scope: usize, depth: usize) {
        if self.path.iter().any(|(kind, _)| kind.contains("import")) {
            return;
        }
        let parent = |up: usize| depth.checked_sub(up).map_or("", |at| self.path[at].0);
        let field = self.path[depth].1;
        match (parent(1), field) {
            ("attribute", Some("attribute")) | ("keyword_argument", Some("name")) => return,
            ("function_definition" | "class_definition", Some("name")) => return,
            ("global_statement" | "nonlocal_statement", _) => {
                let name = self.text(node);
                self.scopes[scope].outer.insert(name);
                return;
            }
            _ => {}
        }
        // The outermost pattern that the name is a part of, and what that is a part of.
        let mut at = depth;
        while at > 0 && is_pattern(self.path[at - 1].0) {
            at -= 1;
        }
        let above = at.checked_sub(1).map_or("", |above| self.path[above].0);
        let binds = match (above, self.path[at].1) {
            ("assignment" | "augmented_assignment" | "for_statement" | "for_in_clause", field) => {
                field == Some("left")
            }
            ("named_expression" | "default_parameter" | "typed_default_parameter", field) => {
                field == Some("name")
            }
            ("typed_parameter", field) => field != Some("type"),
            ("parameters" | "lambda_parameters", _) => true,
            ("as_pattern", field) => field == Some("alias"),
            ("case_pattern", _) => self.path[at].0 == "dotted_name",
            _ => false,
        };
        if !binds || above == "augmented_assignment" {
            self.uses.push((scope, self.text(node)));
        }
        if binds {
            let mut scope = scope;
            while above == "named_expression" && self.scopes[scope].kind == Kind::Comprehension {
                scope = self.scopes[scope].parent;
            }
            self.bind(scope, node);
        }
    }

    /// Whether a name that is looked up in `scope` is one of the module's, or a builtin.
    fn is_of_module(&self, scope: usize, name: &str) -> bool {
        let mut at = scope;
        while at != 0 {
            let here = &self.scopes[at];
            if here.outer.contains(name) {
                return true;
            }
            // A class's names are seen in its body, not in its methods.
            let seen = here.kind != Kind::Class || at == scope;
            if seen && here.bound.contains(name) {
                return false;
            }
            at = here.parent;
        }
        true
    }
}

fn is_pattern(kind: &str) -> bool {
    matches!(
        kind,
        "pattern_list"
            | "tuple_pattern"
            | "list_pattern"
            | "list_splat_pattern"
            | "dictionary_splat_pattern"
            | "as_pattern_target"
            | "dotted_name"
    )
}
