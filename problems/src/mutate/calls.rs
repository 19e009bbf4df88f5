//! Operators on calls, ranges, slices and indices: wrong bounds, wrong order, the wrong function.

use tree_sitter::Node;

use super::Site;
use super::expressions::{is_sequence, wrapped};

/// Adds the edits of one call, slice or index.
pub(super) fn propose(site: &mut Site<'_>, node: Node<'_>) {
    match node.kind() {
        "call" => call(site, node),
        "keyword_argument" => keyword(site, node),
        "slice" => slice(site, node),
        "subscript" => subscript(site, node),
        _ => {}
    }
}

fn call(site: &mut Site<'_>, node: Node<'_>) {
    let (Some(function), Some(arguments)) = (
        node.child_by_field_name("function"),
        node.child_by_field_name("arguments"),
    ) else {
        return;
    };
    let mut cursor = arguments.walk();
    let named: Vec<Node<'_>> = arguments
        .named_children(&mut cursor)
        .filter(|n| n.kind() != "comment")
        .collect();
    let is_plain = |n: &Node<'_>| {
        !matches!(
            n.kind(),
            "keyword_argument" | "list_splat" | "dictionary_splat"
        )
    };
    let plain: Vec<Node<'_>> = named.iter().copied().filter(is_plain).collect();
    let is_list = arguments.kind() == "argument_list";
    if function.kind() == "attribute" {
        return method(site, node, function, &plain, &named);
    }
    let name = site.text(function);
    let swapped = match name {
        "min" => Some("max"),
        "max" => Some("min"),
        "any" => Some("all"),
        "all" => Some("any"),
        _ => None,
    };
    if let Some(swapped) = swapped {
        site.replace("swapped_function", function, swapped);
    }
    if let ([only], true) = (plain.as_slice(), is_list) {
        let inner = wrapped(site, *only);
        match name {
            "abs" | "reversed" | "round" => site.replace("dropped_call", node, inner),
            "sorted" | "set" => {
                site.replace("dropped_call", node, format!("list({})", site.text(*only)))
            }
            "len" => {
                let text = format!("{} - 1", site.text(node));
                let bound = node.parent().is_some_and(|p| {
                    matches!(
                        p.kind(),
                        "argument_list" | "assignment" | "return_statement"
                    )
                });
                site.replace(
                    "off_by_one",
                    node,
                    if bound { text } else { format!("({text})") },
                );
            }
            _ => {}
        }
    }
    if name == "sorted" && is_list && !has_keyword(site, &named, "reverse") {
        insert_after(site, "sort_order", named.last().copied(), ", reverse=True");
    }
    if name == "range" && is_list {
        range(site, &plain);
    }
    // Order does not matter to these, or swapping is no mistake that one makes.
    let symmetric = [
        "min",
        "max",
        "gcd",
        "math.gcd",
        "lcm",
        "isinstance",
        "print",
        "range",
        "getattr",
        "hasattr",
    ];
    if let ([first, second, ..], true) = (plain.as_slice(), is_list)
        && !symmetric.contains(&name)
    {
        site.swap("swapped_arguments", *first, *second);
    }
}

fn method(
    site: &mut Site<'_>,
    node: Node<'_>,
    function: Node<'_>,
    plain: &[Node<'_>],
    named: &[Node<'_>],
) {
    let (Some(object), Some(attribute)) = (
        function.child_by_field_name("object"),
        function.child_by_field_name("attribute"),
    ) else {
        return;
    };
    let name = site.text(attribute);
    let swapped = match name {
        "append" if plain.len() == 1 => Some("extend"),
        "appendleft" => Some("append"),
        "popleft" => Some("pop"),
        "keys" => Some("values"),
        "values" => Some("keys"),
        "lower" => Some("upper"),
        "upper" => Some("lower"),
        "lstrip" | "rstrip" => Some("strip"),
        "strip" => Some("rstrip"),
        "startswith" => Some("endswith"),
        "endswith" => Some("startswith"),
        "find" => Some("rfind"),
        "rfind" => Some("find"),
        "index" if plain.len() == 1 && site.text(object) != "operator" => Some("count"),
        "isdigit" => Some("isalnum"),
        "isalpha" => Some("isalnum"),
        "isalnum" => Some("isalpha"),
        "ljust" => Some("rjust"),
        "rjust" => Some("ljust"),
        "ceil" => Some("floor"),
        "floor" => Some("ceil"),
        "union" => Some("intersection"),
        "intersection" => Some("union"),
        "difference" => Some("symmetric_difference"),
        "symmetric_difference" => Some("difference"),
        _ => None,
    };
    // `extend` of one item is a crash for numbers, which says little.
    if let Some(swapped) = swapped.filter(|&swapped| swapped != "extend") {
        site.replace("swapped_function", attribute, swapped);
    }
    let cleans = [
        "strip",
        "lstrip",
        "rstrip",
        "lower",
        "upper",
        "title",
        "capitalize",
        "casefold",
        "copy",
    ];
    if cleans.contains(&name) {
        site.replace("dropped_call", node, site.text(object));
    }
    if name == "pop" {
        match plain {
            [] => insert_inside(site, "swapped_end", node, "0"),
            [index] if site.text(*index) == "0" => site.replace("swapped_end", *index, ""),
            _ => {}
        }
    }
    if name == "sort" && !has_keyword(site, named, "reverse") {
        match named.last() {
            Some(last) => insert_after(site, "sort_order", Some(*last), ", reverse=True"),
            None => insert_inside(site, "sort_order", node, "reverse=True"),
        }
    }
    let ordered = matches!(
        name,
        "replace" | "setdefault" | "get" | "insert" | "gcd" | "lcm"
    );
    if let [first, second, ..] = plain
        && !ordered
    {
        site.swap("swapped_arguments", *first, *second);
    }
}

fn has_keyword(site: &Site<'_>, arguments: &[Node<'_>], name: &str) -> bool {
    arguments.iter().any(|n| {
        n.child_by_field_name("name")
            .is_some_and(|n| site.text(n) == name)
    })
}

fn insert_after(site: &mut Site<'_>, operator: &'static str, node: Option<Node<'_>>, text: &str) {
    if let Some(node) = node {
        site.replace_range(operator, node.end_byte()..node.end_byte(), text);
    }
}

/// Inserts before the closing parenthesis of a call.
fn insert_inside(site: &mut Site<'_>, operator: &'static str, call: Node<'_>, text: &str) {
    let at = call.end_byte() - 1;
    site.replace_range(operator, at..at, text);
}

fn keyword(site: &mut Site<'_>, node: Node<'_>) {
    let is_key = node
        .child_by_field_name("name")
        .is_some_and(|n| matches!(site.text(n), "key" | "default"));
    if let (true, Some(before)) = (is_key, node.prev_named_sibling()) {
        site.replace_range("dropped_keyword", before.end_byte()..node.end_byte(), "");
    }
}

/// The bounds of a `range`; literal bounds are left to the integer constants.
fn range(site: &mut Site<'_>, bounds: &[Node<'_>]) {
    let stop = bounds.get(1).or(bounds.first());
    if let Some(&stop) = stop.filter(|stop| is_movable(**stop)) {
        site.replace("off_by_one", stop, moved(site, stop, "- 1"));
        site.replace("off_by_one", stop, moved(site, stop, "+ 1"));
    }
    match *bounds {
        [stop] => site.replace_range("off_by_one", stop.start_byte()..stop.start_byte(), "1, "),
        [start, _, ..] if is_movable(start) => {
            site.replace("off_by_one", start, moved(site, start, "+ 1"))
        }
        _ => {}
    }
    if let [_, stop, step] = *bounds {
        site.replace_range("dropped_step", stop.end_byte()..step.end_byte(), "");
    }
}

/// Whether adding one makes a bug that the integer constants do not make.
fn is_movable(node: Node<'_>) -> bool {
    let ends_in_integer = node.kind() == "binary_operator"
        && node
            .child_by_field_name("operator")
            .is_some_and(|op| matches!(op.kind(), "+" | "-"))
        && node
            .child_by_field_name("right")
            .is_some_and(|right| right.kind() == "integer");
    let negative = node.kind() == "unary_operator"
        && node.named_child(0).is_some_and(|n| n.kind() == "integer");
    !(node.kind() == "integer" || ends_in_integer || negative || is_sequence(node))
}

fn moved(site: &Site<'_>, node: Node<'_>, step: &str) -> String {
    match node.kind() {
        "binary_operator" => format!("{} {step}", site.text(node)),
        _ => format!("{} {step}", wrapped(site, node)),
    }
}

fn slice(site: &mut Site<'_>, node: Node<'_>) {
    let mut parts: [Option<Node<'_>>; 3] = [None; 3];
    let mut at = 0;
    let mut colon_ends = Vec::new();
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        match child.kind() {
            ":" => {
                at += 1;
                colon_ends.push(child.end_byte());
            }
            "comment" => {}
            _ if at < 3 => parts[at] = Some(child),
            _ => {}
        }
    }
    let [start, stop, step] = parts;
    if let (Some(step), Some(&first_colon)) = (step, colon_ends.first()) {
        // `x[::-1]` becomes `x[:]`.
        let from = stop.map_or(first_colon, |stop| stop.end_byte());
        site.replace_range("dropped_step", from..step.end_byte(), "");
        return;
    }
    match start {
        Some(start) if is_movable(start) => {
            site.replace("off_by_one", start, moved(site, start, "+ 1"))
        }
        None => site.replace_range("off_by_one", node.start_byte()..node.start_byte(), "1"),
        Some(_) => {}
    }
    match stop {
        Some(stop) if is_movable(stop) => {
            site.replace("off_by_one", stop, moved(site, stop, "- 1"));
            site.replace("off_by_one", stop, moved(site, stop, "+ 1"));
        }
        None => site.replace_range("off_by_one", node.end_byte()..node.end_byte(), "-1"),
        Some(_) => {}
    }
}

fn subscript(site: &mut Site<'_>, node: Node<'_>) {
    const POSITIONS: [&str; 18] = [
        "i", "j", "k", "n", "r", "c", "row", "col", "lo", "hi", "left", "right", "mid", "start",
        "end", "pos", "idx", "index",
    ];
    if let Some(index) = node.child_by_field_name("subscript")
        && index.kind() == "identifier"
        && POSITIONS.contains(&site.text(index))
    {
        site.replace("off_by_one", index, format!("{} - 1", site.text(index)));
        site.replace("off_by_one", index, format!("{} + 1", site.text(index)));
    }
}
