//! Plausible bugs, planted one at a time in working Python: [`mutants`].
//!
//! The source is parsed with tree-sitter; the operators of the submodules (`expressions`, `calls`,
//! `statements`) propose edits of byte ranges, and a mutant is the source with one of them applied. The
//! edits are those that people and small models make (an off-by-one bound, a forgotten guard, a swapped
//! pair) rather than ones that crash at once. A mutant may still mean the same as its source: only
//! execution can tell, see [`super::validate`].

mod calls;
mod expressions;
mod statements;

use std::collections::HashSet;
use std::ops::Range;

use tree_sitter::Node;

use super::draws::Draws;
use super::signature::{first_error, parse, preorder};

/// Working code with one planted bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// The whole source with the edit applied.
    pub code: String,
    /// The operator that made it, such as `comparison_boundary`.
    pub operator: &'static str,
    /// The line that the edit starts on, from 1.
    pub line: usize,
}

/// At most `limit` mutants of `source`, chosen by `seed`.
///
/// Every one differs from the source and from the others, and parses without error. Operators take
/// turns, so that the one with the most places does not crowd out the rest. Source that does not parse
/// has no mutants.
pub fn mutants(source: &str, limit: usize, seed: u64) -> Vec<Mutant> {
    let mut draws = Draws::new(seed, source);
    let mut groups = group(edits(source));
    draws.shuffle(&mut groups);
    for group in &mut groups {
        draws.shuffle(group);
    }
    let mut seen = HashSet::from([source.to_owned()]);
    let mut found = Vec::new();
    while found.len() < limit && groups.iter().any(|group| !group.is_empty()) {
        for group in &mut groups {
            if found.len() == limit {
                break;
            }
            // An edit that is not valid or not new gives its turn to the operator's next one.
            while let Some(edit) = group.pop() {
                let code = edit.apply(source);
                if first_error(parse(&code).root_node()).is_none() && seen.insert(code.clone()) {
                    let line = 1 + source[..edit.range.start].matches('\n').count();
                    found.push(Mutant {
                        code,
                        operator: edit.operator,
                        line,
                    });
                    break;
                }
            }
        }
    }
    found
}

/// Replaces a range of bytes of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    operator: &'static str,
    range: Range<usize>,
    text: String,
}

impl Edit {
    fn apply(&self, source: &str) -> String {
        [
            &source[..self.range.start],
            &self.text,
            &source[self.range.end..],
        ]
        .concat()
    }
}

/// What the operators read and add to.
struct Site<'a> {
    source: &'a str,
    edits: Vec<Edit>,
    /// The left sides of assignments, and parameters, with where they stand.
    assigned: Vec<(usize, &'a str)>,
    /// Names that stand in arithmetic or order comparisons, so one of them for another is plausible.
    numeric: Vec<&'a str>,
}

impl<'a> Site<'a> {
    fn text(&self, node: Node<'_>) -> &'a str {
        &self.source[node.byte_range()]
    }

    fn replace(&mut self, operator: &'static str, node: Node<'_>, text: impl Into<String>) {
        self.replace_range(operator, node.byte_range(), text);
    }

    fn replace_range(
        &mut self,
        operator: &'static str,
        range: Range<usize>,
        text: impl Into<String>,
    ) {
        self.edits.push(Edit {
            operator,
            range,
            text: text.into(),
        });
    }

    /// Exchanges the texts of two nodes that do not overlap, `first` standing before `second`.
    fn swap(&mut self, operator: &'static str, first: Node<'_>, second: Node<'_>) {
        let between = &self.source[first.end_byte()..second.start_byte()];
        let text = [self.text(second), between, self.text(first)].concat();
        if self.text(first) != self.text(second) {
            self.replace_range(operator, first.start_byte()..second.end_byte(), text);
        }
    }
}

fn edits(source: &str) -> Vec<Edit> {
    let tree = parse(source);
    if first_error(tree.root_node()).is_some() {
        return Vec::new();
    }
    let mut site = Site {
        source,
        edits: Vec::new(),
        assigned: Vec::new(),
        numeric: Vec::new(),
    };
    let mut nodes = Vec::new();
    let mut skipped = 0..0;
    for node in preorder(tree.root_node()) {
        // Parents come first, so one range is enough to leave out a whole subtree.
        if skipped.contains(&node.start_byte()) {
            continue;
        }
        match node.kind() {
            "type"
            | "decorator"
            | "import_statement"
            | "import_from_statement"
            | "global_statement"
            | "nonlocal_statement"
            | "format_specifier" => skipped = node.byte_range(),
            "expression_statement" if is_docstring(node) => skipped = node.byte_range(),
            _ => nodes.push(node),
        }
    }
    for &node in &nodes {
        survey(&mut site, node);
    }
    for &node in &nodes {
        expressions::propose(&mut site, node);
        calls::propose(&mut site, node);
        statements::propose(&mut site, node);
    }
    site.edits
}

/// Notes the names that the operators ask about.
fn survey(site: &mut Site<'_>, node: Node<'_>) {
    match node.kind() {
        "assignment" => {
            if let Some(left) = node.child_by_field_name("left") {
                site.assigned.push((left.start_byte(), site.text(left)));
            }
        }
        "parameters" => {
            let mut cursor = node.walk();
            for param in node.named_children(&mut cursor) {
                let name = param
                    .child_by_field_name("name")
                    .or(param.named_child(0))
                    .unwrap_or(param);
                site.assigned.push((name.start_byte(), site.text(name)));
            }
        }
        "identifier" if is_number_like(node) => {
            let name = site.text(node);
            if !site.numeric.contains(&name) {
                site.numeric.push(name);
            }
        }
        _ => {}
    }
}

fn is_docstring(node: Node<'_>) -> bool {
    node.named_child(0)
        .is_some_and(|child| matches!(child.kind(), "string" | "concatenated_string"))
}

/// An operand of `-`, `*`, `//`, `%`, `<` and their like, which mean numbers nearly always.
fn is_number_like(node: Node<'_>) -> bool {
    let Some(parent) = node.parent() else {
        return false;
    };
    let operator = match parent.kind() {
        "binary_operator" => parent.child_by_field_name("operator"),
        "comparison_operator" => parent.child_by_field_name("operators"),
        _ => None,
    };
    operator.is_some_and(|op| matches!(op.kind(), "-" | "*" | "//" | "%" | "<" | "<=" | ">" | ">="))
}

/// The edits by operator, in the order of the operators' first appearance.
fn group(edits: Vec<Edit>) -> Vec<Vec<Edit>> {
    let mut groups: Vec<Vec<Edit>> = Vec::new();
    for edit in edits {
        match groups
            .iter_mut()
            .find(|group| group[0].operator == edit.operator)
        {
            Some(group) => group.push(edit),
            None => groups.push(vec![edit]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_SUM: &str = "def two_sum(nums, target):\n    \"\"\"Indices of two that add up.\"\"\"\n    seen = {}\n    \
        for i, n in enumerate(nums):\n        if target - n in seen:\n            return [seen[target - n], i]\n        \
        seen[n] = i\n    return []\n";
    const RUNS: &str = "def runs(text: str) -> list[tuple[str, int]]:\n    out = []\n    i = 0\n    \
        while i < len(text):\n        j = i\n        while j < len(text) and text[j] == text[i]:\n            j += 1\n        \
        out.append((text[i], j - i))\n        i = j\n    return out\n";
    const CLEAN: &str = "import math\n\ndef clean(rows, limit=10):\n    if not rows:\n        \
        raise ValueError(\"no rows\")\n    best = -math.inf\n    total = 0\n    for row in rows:\n        \
        if row is None:\n            continue\n        elif row > limit:\n            break\n        else:\n            \
        total += row\n        best = max(best, abs(row))\n    keep = sorted((r for r in rows if r), key=abs, reverse=True)\n    \
        return (total, best) if total else (f\"{total:>3}\", keep[1:], rows[::-1])\n";

    /// The changed line of each mutant that `operator` makes of `source`.
    fn lines(source: &str, operator: &str) -> Vec<String> {
        let changed = |mutant: &Mutant| {
            let line = mutant.code.lines().nth(mutant.line - 1).unwrap_or_default();
            line.trim().to_owned()
        };
        let mut found: Vec<String> = mutants(source, 1000, 0)
            .iter()
            .filter(|m| m.operator == operator)
            .map(changed)
            .collect();
        found.sort();
        found
    }

    /// Operator, statements of a function (`;` ends a line, `>` indents it), and the changed lines.
    const BUGS: &str = "
        comparison_boundary  | return a < b             | return a <= b
        comparison_direction | return a < b             | return a > b
        comparison_equality  | return a == b            | return a != b
        membership           | return a not in b        | return a in b
        identity             | return a is not None     | return a is None
        arithmetic_operator  | return a + b             | return a - b
        arithmetic_operator  | return 'x' + a           |
        bitwise_operator     | return a << b            | return a >> b
        operand_order        | return 'x' + a           | return a + 'x'
        operand_order        | return a - b * 2         | return (b * 2) - a
        boolean_operator     | return a and b           | return a or b
        dropped_condition    | return a and b           | return a / return b
        dropped_not          | return not a             | return a
        dropped_sign         | return -a                | return a
        integer_constant     | return 3                 | return 2 / return 4
        integer_constant     | return 0                 | return 1
        integer_constant     | return 0x10              |
        float_constant       | return 0.5               | return 1.5
        string_constant      | return a.count(', ')     | return a.count(' ') / return a.count(',')
        string_constant      | return f'{a} b'          |
        boolean_constant     | return True              | return False
        infinity_sign        | return float('inf')      | return float('-inf')
        negated_condition    | return a if b else 0     | return a if not (b) else 0
        dropped_branch       | return a if b else c     | return a / return c
        dropped_filter       | return [c for c in a if c] | return [c for c in a]
        wrong_variable       | return a - b             | return a - a / return b - b
        swapped_pair         | return a, b              | return b, a
        off_by_one           | return range(n)          | return range(1, n) / return range(n + 1) / return range(n - 1)
        off_by_one           | return range(5, n - 1)   |
        off_by_one           | return a[:n]             | return a[1:n] / return a[:n + 1] / return a[:n - 1]
        off_by_one           | return a[n]              | return a[n + 1] / return a[n - 1]
        off_by_one           | return len(a) * 2        | return (len(a) - 1) * 2
        dropped_step         | return a[::-1]           | return a[:]
        dropped_step         | return range(a, b, 2)    | return range(a, b)
        sort_order           | return sorted(a)         | return sorted(a, reverse=True)
        sort_order           | return sorted(a, reverse=True) |
        sort_order           | a.sort(); return a       | a.sort(reverse=True)
        dropped_keyword      | return sorted(a, key=len) | return sorted(a)
        dropped_call         | return abs(a - b)        | return (a - b)
        dropped_call         | return a.strip().lower() | return a.lower() / return a.strip()
        swapped_end          | return a.pop()           | return a.pop(0)
        swapped_arguments    | return pow(a, b)         | return pow(b, a)
        swapped_arguments    | return min(a, b)         |
        swapped_function     | return min(a, b)         | return max(a, b)
        return_none          | return a                 | return None
        update_operator      | a += 1; return a         | a -= 1
        update_operator      | a += [1]; return a       |
        update_as_assignment | a += 1; return a         | a = 1
        while_as_if          | while a:; > a -= 1       | if a:
        while_as_if          | while a:; > break        |
        loop_exit            | while a:; > break        | continue / pass
        dropped_guard        | if not a:; > return 0; return 1 | pass
        wrong_exception      | raise KeyError(a)        | raise IndexError(a)
        dropped_statement    | a.append(b); return a    | pass
        dropped_statement    | c = a; return c          |
        ";

    #[test]
    fn operators_plant_the_bugs_they_are_named_for() {
        for row in BUGS.lines().filter(|row| !row.trim().is_empty()) {
            let [operator, body, expected] = row.split('|').map(str::trim).collect::<Vec<_>>()[..]
            else {
                panic!("{row}");
            };
            let body = body.replace("; ", "\n    ").replace("> ", "    ");
            let source = format!("def f(a, b, n):\n    {body}\n");
            let expected: Vec<&str> = expected
                .split(" / ")
                .filter(|line| !line.is_empty())
                .collect();
            assert_eq!(
                lines(&source, operator),
                expected,
                "{operator} on\n{source}"
            );
        }
    }

    #[test]
    fn annotations_docstrings_imports_and_decorators_stay() {
        let source = "from a import b\n\n@cache(1)\ndef f(a: Literal[1] = 3) -> list[1]:\n    \"\"\"1\"\"\"\n";
        let expected = [
            "def f(a: Literal[1] = 2) -> list[1]:",
            "def f(a: Literal[1] = 4) -> list[1]:",
        ];
        assert_eq!(lines(source, "integer_constant"), expected);
        assert_eq!(mutants(source, 1000, 0).len(), 2);
    }

    #[test]
    fn statements_move_and_go_where_a_person_would_slip() {
        let early: Vec<Mutant> = mutants(TWO_SUM, 1000, 0)
            .into_iter()
            .filter(|m| m.operator == "early_return")
            .collect();
        assert_eq!(early.len(), 1);
        assert!(
            early[0]
                .code
                .contains("        seen[n] = i\n        return []\n    return []"),
            "{}",
            early[0].code
        );
        let dropped = lines(RUNS, "dropped_statement");
        assert_eq!(
            dropped, ["pass"; 3],
            "the first assignments of out, i and j must stay"
        );
        assert!(lines(RUNS, "statement_order").contains(&"i = j".to_owned()));
        assert_eq!(lines(CLEAN, "elif_as_if"), ["if row > limit:"]);
        assert_eq!(lines(CLEAN, "dropped_else"), ["pass"]);
        assert_eq!(
            lines(CLEAN, "loop_exit"),
            ["break", "continue", "pass", "pass"]
        );
    }

    #[test]
    fn every_mutant_parses_differs_and_is_new() {
        for source in [TWO_SUM, RUNS, CLEAN] {
            for seed in 0..20 {
                let found = mutants(source, 1000, seed);
                assert!(found.len() > 15, "{} mutants of\n{source}", found.len());
                let mut seen = HashSet::from([source]);
                for mutant in &found {
                    assert!(
                        first_error(parse(&mutant.code).root_node()).is_none(),
                        "{mutant:?}"
                    );
                    assert!(seen.insert(&mutant.code), "{mutant:?} twice");
                    assert!((1..=source.lines().count()).contains(&mutant.line));
                }
            }
        }
    }

    #[test]
    fn the_seed_decides_and_the_limit_holds() {
        let take = |limit, seed| mutants(CLEAN, limit, seed);
        assert_eq!(take(10, 1), take(10, 1));
        assert_ne!(take(10, 1), take(10, 2));
        assert_eq!(take(10, 1).len(), 10);
        assert!(take(0, 1).is_empty());
    }

    #[test]
    fn operators_take_turns() {
        let source = format!("def f(a):\n    return not a in [{}]\n", "1, ".repeat(200));
        let found = mutants(&source, 5, 3);
        let constants = found
            .iter()
            .filter(|m| m.operator == "integer_constant")
            .count();
        assert_eq!(
            (found.len(), constants),
            (5, 2),
            "{:?}",
            found.iter().map(|m| m.operator).collect::<Vec<_>>()
        );
    }

    #[test]
    fn source_that_is_broken_empty_or_deep_is_no_trouble() {
        assert!(mutants("def f(:\n", 10, 0).is_empty());
        assert!(mutants("", 10, 0).is_empty());
        assert!(
            mutants("x = 'ünï'\nprint(x[0])\n", 10, 0)
                .iter()
                .all(|m| m.code != "x")
        );
        let deep = format!("x = {}1{}\n", "(".repeat(5000), ")".repeat(5000));
        assert!(mutants(&deep, 3, 0).len() <= 3);
    }
}
