//! Operators on statements: guards, branches, loops, updates and what a function gives back.

use tree_sitter::Node;

use super::Site;
use super::expressions::{is_sequence, negate};

/// Adds the edits of one statement node.
pub(super) fn propose(site: &mut Site<'_>, node: Node<'_>) {
    match node.kind() {
        "if_statement" => branch(site, node),
        "elif_clause" => elif(site, node),
        "else_clause" => or_else(site, node),
        "while_statement" => {
            repeat(site, node);
            early_return(site, node);
        }
        "for_statement" => early_return(site, node),
        "return_statement"
            if node
                .named_child(0)
                .is_some_and(|value| value.kind() != "none") =>
        {
            site.replace("return_none", node, "return None");
        }
        "break_statement" => {
            site.replace("loop_exit", node, "continue");
            site.replace("loop_exit", node, "pass");
        }
        "continue_statement" => {
            site.replace("loop_exit", node, "break");
            site.replace("loop_exit", node, "pass");
        }
        "raise_statement" => raise(site, node),
        "assert_statement" | "delete_statement" => site.replace("dropped_statement", node, "pass"),
        "augmented_assignment" => update(site, node),
        "expression_statement" => statement(site, node),
        _ => {}
    }
}

fn branch(site: &mut Site<'_>, node: Node<'_>) {
    let (Some(condition), Some(body)) = (
        node.child_by_field_name("condition"),
        node.child_by_field_name("consequence"),
    ) else {
        return;
    };
    negate(site, condition);
    if node.child_by_field_name("alternative").is_some() {
        return;
    }
    let last = body.named_child(body.named_child_count().saturating_sub(1));
    let leaves = [
        "return_statement",
        "raise_statement",
        "continue_statement",
        "break_statement",
    ];
    let guard = last.is_some_and(|last| leaves.contains(&last.kind()));
    site.replace(
        if guard {
            "dropped_guard"
        } else {
            "dropped_statement"
        },
        node,
        "pass",
    );
}

fn elif(site: &mut Site<'_>, node: Node<'_>) {
    if let Some(condition) = node.child_by_field_name("condition") {
        negate(site, condition);
    }
    if let Some(before) = node.prev_named_sibling() {
        site.replace_range("dropped_branch", before.end_byte()..node.end_byte(), "");
    }
    if let Some(word) = node.child(0) {
        site.replace("elif_as_if", word, "if");
    }
}

fn or_else(site: &mut Site<'_>, node: Node<'_>) {
    if let Some(body) = node
        .child_by_field_name("body")
        .filter(|body| site.text(*body).trim() != "pass")
    {
        site.replace("dropped_else", body, "pass");
    }
}

/// `while` that runs once at most.
fn repeat(site: &mut Site<'_>, node: Node<'_>) {
    if let Some(condition) = node.child_by_field_name("condition") {
        negate(site, condition);
    }
    let exits = super::preorder(node)
        .any(|inner| matches!(inner.kind(), "break_statement" | "continue_statement"));
    if let (Some(word), false) = (node.child(0), exits) {
        site.replace("while_as_if", word, "if");
    }
}

/// The `return` after a loop, indented by mistake into the loop.
fn early_return(site: &mut Site<'_>, node: Node<'_>) {
    let Some(body) = node.child_by_field_name("body") else {
        return;
    };
    let Some(next) = node
        .next_named_sibling()
        .filter(|next| next.kind() == "return_statement")
    else {
        return;
    };
    let text = site.text(next);
    let line_start = site.source[..body.start_byte()]
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let indent = &site.source[line_start..body.start_byte()];
    if indent.trim().is_empty()
        && !text.contains('\n')
        && node.child_by_field_name("alternative").is_none()
    {
        site.replace_range(
            "early_return",
            body.end_byte()..body.end_byte(),
            format!("\n{indent}{text}"),
        );
    }
}

fn raise(site: &mut Site<'_>, node: Node<'_>) {
    site.replace("dropped_statement", node, "pass");
    let Some(raised) = node.named_child(0) else {
        return;
    };
    let kind = raised.child_by_field_name("function").unwrap_or(raised);
    let other = match site.text(kind) {
        "ValueError" => "TypeError",
        "KeyError" => "IndexError",
        "IndexError" => "KeyError",
        _ => "ValueError",
    };
    if kind.kind() == "identifier" {
        site.replace("wrong_exception", kind, other);
    }
}

fn update(site: &mut Site<'_>, node: Node<'_>) {
    let field = |name| node.child_by_field_name(name);
    let (Some(op), Some(right)) = (field("operator"), field("right")) else {
        return;
    };
    let other = match op.kind() {
        "+=" | "*=" if is_sequence(right) => None,
        "+=" => Some("-="),
        "-=" | "*=" => Some("+="),
        "/=" => Some("//="),
        "//=" => Some("/="),
        "%=" => Some("//="),
        "**=" => Some("*="),
        "&=" => Some("|="),
        "|=" | "^=" => Some("&="),
        "<<=" => Some(">>="),
        ">>=" => Some("<<="),
        _ => None,
    };
    if let Some(other) = other {
        site.replace("update_operator", op, other);
    }
    site.replace("update_as_assignment", op, "=");
}

fn statement(site: &mut Site<'_>, node: Node<'_>) {
    let Some(inner) = node.named_child(0) else {
        return;
    };
    let can_go = match inner.kind() {
        "call" | "augmented_assignment" => true,
        "assignment" => inner.child_by_field_name("left").is_some_and(|left| {
            // The first assignment of a name cannot go: every use would crash.
            let name = site.text(left);
            matches!(left.kind(), "subscript" | "attribute")
                || site
                    .assigned
                    .iter()
                    .any(|&(at, other)| at < left.start_byte() && other == name)
        }),
        _ => false,
    };
    if can_go {
        site.replace("dropped_statement", node, "pass");
    }
    // Two updates in the wrong order; a name's first assignment stays before its uses.
    if let Some(next) = node
        .next_named_sibling()
        .filter(|next| next.kind() == "expression_statement")
        && can_go
        && site.source[node.end_byte()..next.start_byte()].contains('\n')
    {
        site.swap("statement_order", node, next);
    }
}
