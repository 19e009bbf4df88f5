//! What the gold values of a place have in common, and how a drawn value is made to share it.
//!
//! Validators ask for sorted lists, rectangular grids, pairs of different numbers. Drawn blindly, hardly
//! any input would pass; what every gold value shares is a good guess at what the validator wants. It
//! stays a guess: some inputs are drawn without it, and the validator decides.

use std::cmp::Ordering;

use gauntlet_sandbox::Value;
use num_traits::ToPrimitive;

use super::place::{Place, Variant, items};

/// What all values seen at a place have in common, and a valid input probably needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Habits {
    /// Elements never fall.
    pub(super) ascending: bool,
    /// Elements never rise.
    pub(super) descending: bool,
    /// No element comes twice.
    pub(super) distinct: bool,
    /// Never empty.
    pub(super) nonempty: bool,
    /// Every value has this length.
    pub(super) length: Option<usize>,
    /// The rows of each value have one length.
    pub(super) rectangular: bool,
    /// As many rows as columns.
    pub(super) square: bool,
    /// Numbers are never below this, which is 0 or 1.
    pub(super) floor: Option<i64>,
}

impl Habits {
    /// Two values that happen to be sorted say little; from three on it is taken for a habit.
    pub(super) fn of(seen: &[&Value]) -> Habits {
        let lists: Vec<Vec<Value>> = seen.iter().map(|value| items(value)).collect();
        let telling =
            |at_least: usize| lists.iter().filter(|items| items.len() >= at_least).count() >= 3;
        let ordered = |wrong: Ordering| {
            let fits =
                |pair: &[Value]| compare(&pair[0], &pair[1]).is_some_and(|order| order != wrong);
            telling(2) && lists.iter().all(|items| items.windows(2).all(fits))
        };
        let lengths: Vec<usize> = lists.iter().map(Vec::len).collect();
        let rows: Vec<Vec<usize>> = lists
            .iter()
            .map(|items| {
                items
                    .iter()
                    .filter(|row| matches!(row, Value::List(_)))
                    .map(|row| self::items(row).len())
                    .collect()
            })
            .collect();
        let of_rows = lists
            .iter()
            .zip(&rows)
            .all(|(items, rows)| items.len() == rows.len());
        let rectangular = telling(2)
            && of_rows
            && rows
                .iter()
                .all(|row| row.windows(2).all(|pair| pair[0] == pair[1]));
        let least = seen
            .iter()
            .filter_map(|value| number(value))
            .reduce(f64::min);
        Habits {
            floor: least
                .filter(|&l| seen.len() >= 4 && (l == 0.0 || l == 1.0))
                .map(|least| least as i64),
            ascending: ordered(Ordering::Greater),
            descending: ordered(Ordering::Less),
            distinct: telling(2) && lists.iter().all(|items| first_repeat(items).is_none()),
            nonempty: telling(1) && lengths.iter().all(|&length| length > 0),
            length: lengths.first().copied().filter(|&l| {
                l > 1 && lengths.len() >= 3 && lengths.iter().all(|&other| other == l)
            }),
            rectangular,
            square: rectangular
                && rows
                    .iter()
                    .all(|rows| rows.first().is_none_or(|&columns| columns == rows.len())),
        }
    }
}

/// Gives a value the habits of its place, from the innermost values outwards.
pub(super) fn conform(place: &Place, value: Value) -> Value {
    let Some(variant) = place.variant_of(&value) else {
        return value;
    };
    let inner = |index: usize, item: Value| match variant.inner.get(index).or(variant.inner.first())
    {
        Some(place) => conform(place, item),
        None => item,
    };
    let all = |list: Vec<Value>| {
        list.into_iter()
            .map(|item| inner(0, item))
            .collect::<Vec<_>>()
    };
    let habits = &variant.habits;
    match value {
        Value::List(list) => Value::List(ordered(habits, rows(habits, sized(variant, all(list))))),
        Value::Tuple(list) if variant.inner.len() < 2 => {
            Value::Tuple(ordered(habits, sized(variant, all(list))))
        }
        Value::Tuple(list) => {
            let list = list
                .into_iter()
                .enumerate()
                .map(|(index, item)| inner(index, item))
                .collect();
            Value::Tuple(ordered(habits, list))
        }
        Value::Set(list) => Value::Set(all(list)),
        Value::FrozenSet(list) => Value::FrozenSet(all(list)),
        Value::Dict(pairs) => Value::Dict(
            pairs
                .into_iter()
                .map(|(k, v)| (inner(0, k), inner(1, v)))
                .collect(),
        ),
        Value::Int(i) => match habits.floor {
            Some(floor) if i < floor.into() => Value::Int((-i).max(floor.into())),
            _ => Value::Int(i),
        },
        Value::Float(f) => match habits.floor {
            Some(floor) if f < floor as f64 => Value::Float((-f).max(floor as f64)),
            _ => Value::Float(f),
        },
        other => other,
    }
}

/// Brings a list to the length that all have, or at least above none.
fn sized(variant: &Variant, mut list: Vec<Value>) -> Vec<Value> {
    let least = usize::from(variant.habits.nonempty);
    let wanted = variant.habits.length.unwrap_or(list.len().max(least));
    list.truncate(wanted);
    let spares = variant.seen.iter().flat_map(items).collect::<Vec<_>>();
    while let Some(spare) = spares
        .get(list.len() % spares.len().max(1))
        .filter(|_| list.len() < wanted)
    {
        list.push(spare.clone());
    }
    list
}

/// Cuts the rows of a grid to one length, and a square grid to a square.
fn rows(habits: &Habits, mut list: Vec<Value>) -> Vec<Value> {
    if !habits.rectangular || list.iter().any(|row| !matches!(row, Value::List(_))) {
        return list;
    }
    let longest = list.iter().map(|row| items(row).len()).max().unwrap_or(0);
    let columns = if habits.square {
        longest.min(list.len())
    } else {
        longest
    };
    for row in &mut list {
        let Value::List(row) = row else { continue };
        row.truncate(columns);
        let Some(last) = row.last().cloned() else {
            continue;
        };
        row.resize(columns, last);
    }
    list.retain(|row| items(row).len() == columns);
    if habits.square {
        list.truncate(columns);
    }
    list
}

fn ordered(habits: &Habits, mut list: Vec<Value>) -> Vec<Value> {
    if habits.distinct && list.len() > 1 {
        while let Some(at) = first_repeat(&list) {
            // A pair needs its second number; a longer list can do without the repeat.
            match (habits.length.is_some(), &list[at]) {
                (true, Value::Int(i)) => list[at] = Value::Int(i + 1),
                (true, Value::Float(f)) => list[at] = Value::Float(f + 1.0),
                (true, _) => break,
                (false, _) => drop(list.remove(at)),
            }
        }
    }
    if habits.ascending || habits.descending {
        list.sort_by(|a, b| compare(a, b).unwrap_or(Ordering::Equal));
    }
    if habits.descending && !habits.ascending {
        list.reverse();
    }
    list
}

/// The index of the first item that equals an earlier one.
pub(super) fn first_repeat(items: &[Value]) -> Option<usize> {
    (1..items.len()).find(|&at| items[..at].iter().any(|earlier| earlier.py_eq(&items[at])))
}

/// Python's order, where it has one between the two.
pub(super) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Some(a.chars().cmp(b.chars())),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            for (a, b) in a.iter().zip(b) {
                match compare(a, b)? {
                    Ordering::Equal => {}
                    order => return Some(order),
                }
            }
            Some(a.len().cmp(&b.len()))
        }
        _ => number(a)?.partial_cmp(&number(b)?),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        Value::Int(i) => i.to_f64(),
        Value::Float(f) => Some(*f),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::Shape;
    use super::*;

    fn learn(literals: &[&str]) -> Place {
        let values: Vec<Value> = literals
            .iter()
            .map(|text| Value::parse_literal(text).unwrap())
            .collect();
        Place::learn(values.iter().collect(), &Shape::Any)
    }

    #[test]
    fn habits_take_three_values_and_no_exception() {
        let habits = |literals: &[&str]| learn(literals).variants[0].habits.clone();
        assert!(habits(&["[1, 2]", "[2, 2]", "[3, 5]"]).ascending);
        assert!(!habits(&["[1, 2]", "[2, 3]"]).ascending);
        assert!(!habits(&["[1, 2]", "[2, 3]", "[3, 1]"]).ascending);
        assert!(habits(&["[3, 2]", "[2, 1]", "[]", "[9, 8, 1]"]).descending);
        assert!(habits(&["[1, 2]", "[2, 1]", "[3, 5]"]).distinct);
        assert_eq!(habits(&["[1, 2]", "[2, 1]", "[3, 5]"]).length, Some(2));
        let matrix = habits(&["[[1, 2], [3, 4]]", "[[1, 2], [2, 3]]", "[[0, 0], [1, 1]]"]);
        assert!(matrix.rectangular && matrix.square && matrix.nonempty);
        assert!(!habits(&["[[1, 2], [3]]", "[[1], [2]]", "[[0], [1]]"]).rectangular);
        assert_eq!(habits(&["0", "4", "2", "0"]).floor, Some(0));
        assert_eq!(habits(&["0", "4", "-2", "0"]).floor, None);
    }

    #[test]
    fn drawn_values_take_on_the_habits() {
        let check = |gold: &[&str], drawn: &str, expected: &str| {
            let conformed = conform(&learn(gold), Value::parse_literal(drawn).unwrap());
            assert_eq!(conformed.to_literal(), expected, "{drawn} after {gold:?}");
        };
        check(&["[1, 2]", "[2, 4]", "[3, 5]"], "[9, 3]", "[3, 9]");
        check(
            &["[(1, 2)]", "[(2, 4)]", "[(3, 5)]"],
            "[(9, 3), (4, 4)]",
            "[(3, 9), (4, 5)]",
        );
        check(
            &["[[1, 2], [3, 4]]", "[[1, 2], [2, 3]]", "[[0, 0], [1, 1]]"],
            "[[1, 2], [3]]",
            "[[1, 2], [2, 3]]",
        );
        check(&["1", "2", "3", "9"], "-4", "4");
        check(&["[1]", "[2, 1]", "[3, 5, 0]"], "[]", "[1]");
        check(&["'b'", "'a'"], "'zz'", "'zz'");
    }

    #[test]
    fn order_is_pythons() {
        let order = |a: &str, b: &str| {
            compare(
                &Value::parse_literal(a).unwrap(),
                &Value::parse_literal(b).unwrap(),
            )
        };
        assert_eq!(order("1", "2.5"), Some(Ordering::Less));
        assert_eq!(order("[1, 'b']", "[1, 'a', 0]"), Some(Ordering::Greater));
        assert_eq!(order("'a'", "1"), None);
    }
}
