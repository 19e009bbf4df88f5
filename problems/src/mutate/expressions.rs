//! Operators on expressions: comparisons, arithmetic, constants, conditions, names and pairs.

use tree_sitter::Node;

use super::Site;

/// Adds the edits of one expression node.
pub(super) fn propose(site: &mut Site<'_>, node: Node<'_>) {
    match node.kind() {
        "comparison_operator" => comparison(site, node),
        "binary_operator" => arithmetic(site, node),
        "boolean_operator" => boolean(site, node),
        "not_operator" | "unary_operator" => unary(site, node),
        "integer" => integer(site, node),
        "float" => float(site, node),
        "true" => site.replace("boolean_constant", node, "False"),
        "false" => site.replace("boolean_constant", node, "True"),
        "string" => string(site, node),
        "conditional_expression" => ternary(site, node),
        "if_clause" => filter(site, node),
        "identifier" => variable(site, node),
        "attribute" if site.text(node) == "math.inf" => {
            site.replace("infinity_sign", node, "-math.inf")
        }
        "tuple" | "list" | "expression_list" | "pattern_list" if node.named_child_count() == 2 => {
            pair(site, node)
        }
        _ => {}
    }
}

/// Negates a condition, unless another operator makes the same bug of it.
pub(super) fn negate(site: &mut Site<'_>, condition: Node<'_>) {
    let covered = condition.kind() == "not_operator"
        || condition.kind() == "comparison_operator"
            && condition.named_child_count() == 2
            && condition
                .child(1)
                .is_some_and(|op| !matches!(op.kind(), "<" | "<=" | ">" | ">="));
    if !covered {
        site.replace(
            "negated_condition",
            condition,
            format!("not ({})", site.text(condition)),
        );
    }
}

fn comparison(site: &mut Site<'_>, node: Node<'_>) {
    let mut cursor = node.walk();
    for op in node.children_by_field_name("operators", &mut cursor) {
        let swaps: &[(&'static str, &str)] = match op.kind() {
            "<" => &[("comparison_boundary", "<="), ("comparison_direction", ">")],
            "<=" => &[("comparison_boundary", "<"), ("comparison_direction", ">=")],
            ">" => &[("comparison_boundary", ">="), ("comparison_direction", "<")],
            ">=" => &[("comparison_boundary", ">"), ("comparison_direction", "<=")],
            "==" => &[("comparison_equality", "!=")],
            "!=" => &[("comparison_equality", "==")],
            "in" => &[("membership", "not in")],
            "not in" => &[("membership", "in")],
            "is" => &[("identity", "is not")],
            "is not" => &[("identity", "is")],
            _ => &[],
        };
        for &(operator, text) in swaps {
            site.replace(operator, op, text);
        }
    }
}

fn arithmetic(site: &mut Site<'_>, node: Node<'_>) {
    let field = |name| node.child_by_field_name(name);
    let (Some(left), Some(op), Some(right)) = (field("left"), field("operator"), field("right"))
    else {
        return;
    };
    let sequence = is_sequence(left) || is_sequence(right);
    let swap = match op.kind() {
        "+" | "*" | "%" if sequence => None,
        "+" => Some("-"),
        "-" | "*" => Some("+"),
        "/" => Some("//"),
        "//" => Some("/"),
        "%" => Some("//"),
        "**" => Some("*"),
        "&" => Some("|"),
        "|" | "^" => Some("&"),
        "<<" => Some(">>"),
        ">>" => Some("<<"),
        _ => None,
    };
    if let Some(swap) = swap {
        site.replace(
            if is_bitwise(op.kind()) {
                "bitwise_operator"
            } else {
                "arithmetic_operator"
            },
            op,
            swap,
        );
    }
    if matches!(op.kind(), "-" | "/" | "//" | "%" | "**") || op.kind() == "+" && sequence {
        let [left_text, right_text] = [left, right].map(|operand| wrapped(site, operand));
        let between = &site.source[left.end_byte()..right.start_byte()];
        site.replace(
            "operand_order",
            node,
            [right_text.as_str(), between, &left_text].concat(),
        );
    }
}

fn is_bitwise(op: &str) -> bool {
    matches!(op, "&" | "|" | "^" | "<<" | ">>")
}

/// What is plainly a string, a list or a tuple: arithmetic on it would crash at once.
pub(super) fn is_sequence(node: Node<'_>) -> bool {
    match node.kind() {
        "string" | "concatenated_string" | "list" | "list_comprehension" | "tuple" => true,
        "binary_operator" => ["left", "right"]
            .into_iter()
            .any(|side| node.child_by_field_name(side).is_some_and(is_sequence)),
        "subscript" => {
            let mut cursor = node.walk();
            node.children_by_field_name("subscript", &mut cursor)
                .any(|index| index.kind() == "slice")
        }
        "parenthesized_expression" => node.named_child(0).is_some_and(is_sequence),
        _ => false,
    }
}

/// The text of an operand, in parentheses where it would bind otherwise in another place.
pub(super) fn wrapped(site: &Site<'_>, node: Node<'_>) -> String {
    let text = site.text(node);
    match node.kind() {
        "identifier"
        | "integer"
        | "float"
        | "string"
        | "call"
        | "attribute"
        | "subscript"
        | "list"
        | "list_comprehension"
        | "tuple"
        | "parenthesized_expression" => text.to_owned(),
        _ => format!("({text})"),
    }
}

fn boolean(site: &mut Site<'_>, node: Node<'_>) {
    let field = |name| node.child_by_field_name(name);
    let (Some(left), Some(op), Some(right)) = (field("left"), field("operator"), field("right"))
    else {
        return;
    };
    site.replace(
        "boolean_operator",
        op,
        if op.kind() == "and" { "or" } else { "and" },
    );
    site.replace("dropped_condition", node, site.text(left));
    site.replace("dropped_condition", node, site.text(right));
}

fn unary(site: &mut Site<'_>, node: Node<'_>) {
    if let Some(argument) = node.child_by_field_name("argument") {
        let operator = if node.kind() == "not_operator" {
            "dropped_not"
        } else {
            "dropped_sign"
        };
        site.replace(operator, node, site.text(argument));
    }
}

fn integer(site: &mut Site<'_>, node: Node<'_>) {
    if let Ok(value) = site.text(node).parse::<u64>() {
        site.replace(
            "integer_constant",
            node,
            value.saturating_add(1).to_string(),
        );
        if value > 0 {
            site.replace("integer_constant", node, (value - 1).to_string());
        }
    }
}

fn float(site: &mut Site<'_>, node: Node<'_>) {
    if let Ok(value) = site.text(node).parse::<f64>() {
        site.replace("float_constant", node, format!("{:?}", value + 1.0));
    }
}

fn string(site: &mut Site<'_>, node: Node<'_>) {
    let count = node.child_count();
    let (Some(open), Some(close)) = (node.child(0), node.child(count.saturating_sub(1))) else {
        return;
    };
    let content = &site.source[open.end_byte()..close.start_byte()];
    let plain = !site.text(open).contains(['f', 'F', 't', 'T']) && !content.contains(['\\', '\n']);
    if !plain
        || node
            .parent()
            .is_some_and(|parent| parent.kind() == "concatenated_string")
    {
        return;
    }
    let range = open.end_byte()..close.start_byte();
    if content.trim_start_matches('-') == "inf" {
        let turned = if content.starts_with('-') {
            "inf"
        } else {
            "-inf"
        };
        return site.replace_range("infinity_sign", range, turned);
    }
    let mut chars = content.chars();
    let (first, second) = (chars.next(), chars.next());
    let text = match (first, second) {
        (None, _) => " ".to_owned(),
        (Some(' '), None) => "  ".to_owned(),
        (Some(digit @ '0'..='8'), None) => char::from(digit as u8 + 1).to_string(),
        (Some(letter), None) if letter.is_lowercase() => letter.to_uppercase().to_string(),
        (Some(letter), None) if letter.is_uppercase() => letter.to_lowercase().to_string(),
        (Some(mark), None) => format!("{mark} "),
        (Some(first), Some(_)) => {
            site.replace_range(
                "string_constant",
                range.clone(),
                &content[first.len_utf8()..],
            );
            let last = content.chars().next_back().map_or(0, char::len_utf8);
            content[..content.len() - last].to_owned()
        }
    };
    site.replace_range("string_constant", range, text);
}

fn ternary(site: &mut Site<'_>, node: Node<'_>) {
    if let (Some(value), Some(condition), Some(other)) = (
        node.named_child(0),
        node.named_child(1),
        node.named_child(2),
    ) {
        negate(site, condition);
        for branch in [value, other] {
            site.replace("dropped_branch", node, wrapped(site, branch));
        }
    }
}

/// The `if` of a comprehension.
fn filter(site: &mut Site<'_>, node: Node<'_>) {
    if let Some(condition) = node.named_child(0) {
        negate(site, condition);
    }
    if let Some(before) = node.prev_sibling() {
        site.replace_range("dropped_filter", before.end_byte()..node.end_byte(), "");
    }
}

/// One number's name in another's place.
fn variable(site: &mut Site<'_>, node: Node<'_>) {
    let operand = node.parent().is_some_and(|parent| {
        matches!(
            parent.kind(),
            "binary_operator" | "comparison_operator" | "return_statement"
        )
    });
    let name = site.text(node);
    if let Some(place) = site
        .numeric
        .iter()
        .position(|&other| other == name)
        .filter(|_| operand)
    {
        let other = site.numeric[(place + 1) % site.numeric.len()];
        if other != name {
            site.replace("wrong_variable", node, other);
        }
    }
}

fn pair(site: &mut Site<'_>, node: Node<'_>) {
    let target =
        node.kind() == "pattern_list" && node.parent().is_some_and(|p| p.kind() == "assignment");
    if let (Some(first), Some(second), false) = (node.named_child(0), node.named_child(1), target) {
        site.swap("swapped_pair", first, second);
    }
}
