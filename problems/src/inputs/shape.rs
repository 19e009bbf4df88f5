//! Parameter annotations as the few types that inputs are drawn from.

/// What an annotation allows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    None,
    Bool,
    Int,
    Float,
    Str,
    Bytes,
    List(Box<Shape>),
    /// A tuple of these, one by one.
    Tuple(Vec<Shape>),
    /// A tuple of any length.
    Tuples(Box<Shape>),
    Dict(Box<Shape>, Box<Shape>),
    Set(Box<Shape>),
    FrozenSet(Box<Shape>),
    /// Any of these.
    Union(Vec<Shape>),
    /// The annotation does not say, or says something that inputs cannot be.
    Any,
}

impl Shape {
    /// Reads an annotation such as `list[tuple[int, str]]` or `Optional[int]`.
    pub(super) fn parse(annotation: &str) -> Shape {
        let text = annotation.trim().trim_matches(['"', '\'']).trim();
        let options = split(text, '|');
        if options.len() > 1 {
            return Shape::Union(options.into_iter().map(Shape::parse).collect());
        }
        let (name, inner) = match text.split_once('[') {
            Some((name, rest)) => (name, split(rest.strip_suffix(']').unwrap_or(rest), ',')),
            None => (text, Vec::new()),
        };
        let at = |index: usize| {
            Box::new(
                inner
                    .get(index)
                    .map_or(Shape::Any, |text| Shape::parse(text)),
            )
        };
        match name.trim().trim_start_matches("typing.") {
            "None" => Shape::None,
            "bool" => Shape::Bool,
            "int" => Shape::Int,
            "float" => Shape::Float,
            "str" => Shape::Str,
            "bytes" => Shape::Bytes,
            "list" | "List" | "Sequence" | "Iterable" => Shape::List(at(0)),
            "tuple" | "Tuple" => match inner.as_slice() {
                [] => Shape::Tuples(Box::new(Shape::Any)),
                [_, "..."] => Shape::Tuples(at(0)),
                [one] if one.trim() == "()" => Shape::Tuple(Vec::new()),
                _ => Shape::Tuple(inner.iter().map(|text| Shape::parse(text)).collect()),
            },
            "dict" | "Dict" | "Mapping" => Shape::Dict(at(0), at(1)),
            "set" | "Set" => Shape::Set(at(0)),
            "frozenset" | "FrozenSet" => Shape::FrozenSet(at(0)),
            "Optional" => Shape::Union(vec![*at(0), Shape::None]),
            "Union" => Shape::Union(inner.iter().map(|text| Shape::parse(text)).collect()),
            _ => Shape::Any,
        }
    }

    /// The shapes of a union, and of one inside it; one's own where there is no union.
    pub(super) fn options(&self) -> Vec<&Shape> {
        match self {
            Shape::Union(options) => options.iter().flat_map(Shape::options).collect(),
            _ => vec![self],
        }
    }
}

/// Splits where `separator` stands outside brackets.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut depth = 0_i32;
    let mut parts = text.split(|c| {
        depth += match c {
            '[' | '(' => 1,
            ']' | ')' => -1,
            _ => 0,
        };
        depth == 0 && c == separator
    });
    let parts: Vec<&str> = parts.by_ref().map(str::trim).collect();
    if parts == [""] { Vec::new() } else { parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_shapes() {
        let int = || Box::new(Shape::Int);
        for (annotation, shape) in [
            ("int", Shape::Int),
            ("\"list[int]\"", Shape::List(int())),
            ("List", Shape::List(Box::new(Shape::Any))),
            (
                "dict[str, list[int]]",
                Shape::Dict(Box::new(Shape::Str), Box::new(Shape::List(int()))),
            ),
            ("tuple[int, ...]", Shape::Tuples(int())),
            (
                "tuple[int, str]",
                Shape::Tuple(vec![Shape::Int, Shape::Str]),
            ),
            (
                "list[tuple[int, int]]",
                Shape::List(Box::new(Shape::Tuple(vec![Shape::Int; 2]))),
            ),
            ("Optional[int]", Shape::Union(vec![Shape::Int, Shape::None])),
            ("int | list[int | None]", {
                let inner = Shape::Union(vec![Shape::Int, Shape::None]);
                Shape::Union(vec![Shape::Int, Shape::List(Box::new(inner))])
            }),
            ("Callable[[int], int]", Shape::Any),
            ("", Shape::Any),
            ("list[", Shape::List(Box::new(Shape::Any))),
        ] {
            assert_eq!(Shape::parse(annotation), shape, "{annotation}");
        }
    }
}
