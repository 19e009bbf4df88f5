//! Fresh values for a place, and small changes of values that stand there.

use gauntlet_sandbox::Value;
use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::super::draws::Draws;
use super::habits::first_repeat;
use super::place::{Place, Variant, items};
use super::text;

/// No container that is drawn grows past this, unless gold tests hold longer ones.
const MOST_ITEMS: usize = 40;

/// A value as gold tests might have put there.
pub(super) fn fresh(place: &Place, draws: &mut Draws) -> Value {
    let variant = &place.variants[draws.below(place.variants.len())];
    let seen = draws.pick(&variant.seen).cloned();
    if let (Some(seen), true) = (&seen, draws.one_in(3)) {
        return seen.clone();
    }
    match &variant.sample {
        Value::None => Value::None,
        Value::Bool(_) => Value::Bool(draws.one_in(2)),
        Value::Int(_) => Value::Int(number_in_range(variant, draws).into()),
        Value::Float(_) => {
            Value::Float(number_in_range(variant, draws) as f64 + [0.0, 0.5, 0.25][draws.below(3)])
        }
        Value::Str(_) => Value::Str(text::fresh(&strings(variant), draws)),
        Value::Bytes(_) => Value::Bytes(
            (0..draws.below(6))
                .map(|_| draws.below(256) as u8)
                .collect(),
        ),
        Value::List(_) => Value::List(fresh_items(variant, draws)),
        Value::Set(_) => Value::Set(unique(fresh_items(variant, draws))),
        Value::FrozenSet(_) => Value::FrozenSet(unique(fresh_items(variant, draws))),
        Value::Tuple(sample) if variant.inner.len() == sample.len() => Value::Tuple(
            variant
                .inner
                .iter()
                .map(|place| fresh(place, draws))
                .collect(),
        ),
        Value::Tuple(_) => Value::Tuple(fresh_items(variant, draws)),
        Value::Dict(_) => {
            let count = length(variant, draws);
            Value::Dict(unique_keys(
                (0..count).map(|_| fresh_pair(variant, draws)).collect(),
            ))
        }
        Value::Complex { .. } | Value::Opaque(_) => seen.unwrap_or(Value::None),
    }
}

/// The value with a few small changes.
pub(super) fn perturb(place: &Place, value: &Value, draws: &mut Draws) -> Value {
    let Some(variant) = place
        .variant_of(value)
        .filter(|_| place.variants.len() == 1 || !draws.one_in(10))
    else {
        return fresh(place, draws);
    };
    match value {
        Value::Bool(b) => Value::Bool(!b),
        Value::Int(i) => Value::Int(near(i, variant, draws)),
        Value::Float(f) => Value::Float(near_float(*f, variant, draws)),
        Value::Str(s) => Value::Str(text::perturb(s, &strings(variant), draws)),
        Value::Bytes(bytes) => {
            let mut bytes = bytes.clone();
            let at = draws.below(bytes.len() + 1);
            match draws.below(3) {
                0 if at < bytes.len() => drop(bytes.remove(at)),
                1 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(1),
                _ => bytes.insert(at, draws.below(256) as u8),
            }
            Value::Bytes(bytes)
        }
        Value::List(list) => Value::List(change_items(variant, list.clone(), draws)),
        Value::Set(list) => Value::Set(unique(change_items(variant, list.clone(), draws))),
        Value::FrozenSet(list) => {
            Value::FrozenSet(unique(change_items(variant, list.clone(), draws)))
        }
        Value::Tuple(list) if variant.inner.len() == list.len() && !list.is_empty() => {
            let mut list = list.clone();
            for _ in 0..1 + draws.below(2) {
                let at = draws.below(list.len());
                list[at] = perturb(&variant.inner[at], &list[at], draws);
            }
            Value::Tuple(list)
        }
        Value::Tuple(list) => Value::Tuple(change_items(variant, list.clone(), draws)),
        Value::Dict(pairs) => Value::Dict(unique_keys(change_pairs(variant, pairs.clone(), draws))),
        Value::None | Value::Complex { .. } | Value::Opaque(_) => value.clone(),
    }
}

/// The values that break code which works on ordinary ones: nothing, one thing, the same again, much.
pub(super) fn edge(place: &Place, value: &Value, draws: &mut Draws) -> Value {
    match value {
        Value::Int(_) => Value::from([0, 1, -1, 2, 10, 100, -7][draws.below(7)]),
        Value::Float(_) => Value::Float([0.0, 1.0, -1.0, 0.5, 1e6, -2.5][draws.below(6)]),
        Value::Str(s) => Value::Str(text::edge(s, draws)),
        Value::List(list) => Value::List(edge_items(place, list, draws)),
        Value::Tuple(list)
            if place
                .variant_of(value)
                .is_some_and(|variant| variant.inner.len() < 2) =>
        {
            Value::Tuple(edge_items(place, list, draws))
        }
        Value::Set(list) => Value::Set(unique(edge_items(place, list, draws))),
        Value::FrozenSet(list) => Value::FrozenSet(unique(edge_items(place, list, draws))),
        Value::Dict(pairs) => Value::Dict(pairs.iter().take(draws.below(2)).cloned().collect()),
        Value::Bytes(bytes) => Value::Bytes(bytes.iter().take(draws.below(2)).copied().collect()),
        _ => perturb(place, value, draws),
    }
}

/// A value that begins as one gold value and ends as another.
pub(super) fn splice(a: &Value, b: &Value, draws: &mut Draws) -> Value {
    let join = |a: &[Value], b: &[Value], draws: &mut Draws| {
        [
            &a[..draws.below(a.len() + 1)],
            &b[draws.below(b.len() + 1)..],
        ]
        .concat()
    };
    match (a, b) {
        (Value::List(a), Value::List(b)) => Value::List(join(a, b, draws)),
        (Value::Str(a), Value::Str(b)) => Value::Str(text::splice(a, b, draws)),
        (Value::Set(a), Value::Set(b)) => Value::Set(unique(join(a, b, draws))),
        (Value::Dict(a), Value::Dict(b)) => {
            let (head, tail) = (draws.below(a.len() + 1), draws.below(b.len() + 1));
            Value::Dict(unique_keys([&a[..head], &b[tail..]].concat()))
        }
        _ => b.clone(),
    }
}

fn change_items(variant: &Variant, mut list: Vec<Value>, draws: &mut Draws) -> Vec<Value> {
    let most = variant
        .seen
        .iter()
        .map(|value| items(value).len())
        .max()
        .unwrap_or(0)
        .max(MOST_ITEMS);
    for _ in 0..1 + draws.below(3) {
        let at = draws.below(list.len());
        match draws.below(14) {
            0..=3 if !list.is_empty() => list[at] = perturb(&variant.inner[0], &list[at], draws),
            4 | 5 if !list.is_empty() => drop(list.remove(at)),
            6 if !list.is_empty() => {
                let again = list[draws.below(list.len())].clone();
                list.insert(at, again);
            }
            7 if !list.is_empty() => list[at] = list[draws.below(list.len())].clone(),
            8 if list.len() > 1 => {
                let other = draws.below(list.len());
                list.swap(at, other);
            }
            9 => list.reverse(),
            10 => list.rotate_left(at),
            11 => list.truncate(at + 1),
            12 => {
                let other = draws.pick(&variant.seen).map(items).unwrap_or_default();
                list.extend_from_slice(&other[draws.below(other.len() + 1)..]);
            }
            _ => list.insert(draws.below(list.len() + 1), fresh(&variant.inner[0], draws)),
        }
    }
    list.truncate(most);
    list
}

fn change_pairs(
    variant: &Variant,
    mut pairs: Vec<(Value, Value)>,
    draws: &mut Draws,
) -> Vec<(Value, Value)> {
    for _ in 0..1 + draws.below(2) {
        let at = draws.below(pairs.len());
        match draws.below(6) {
            0..=2 if !pairs.is_empty() => {
                pairs[at].1 = perturb(&variant.inner[1], &pairs[at].1, draws)
            }
            3 if !pairs.is_empty() => drop(pairs.remove(at)),
            4 if !pairs.is_empty() => pairs[at].0 = perturb(&variant.inner[0], &pairs[at].0, draws),
            _ => pairs.push(fresh_pair(variant, draws)),
        }
    }
    pairs
}

fn edge_items(place: &Place, list: &[Value], draws: &mut Draws) -> Vec<Value> {
    let inner = place
        .variants
        .iter()
        .find_map(|variant| variant.inner.first());
    let some = || list.first().cloned();
    match draws.below(5) {
        0 => Vec::new(),
        1 => list
            .iter()
            .skip(draws.below(list.len()))
            .take(1)
            .cloned()
            .collect(),
        2 => some().map_or(Vec::new(), |item| vec![item; 2 + draws.below(4)]),
        3 => list
            .iter()
            .cycle()
            .take(if list.is_empty() { 0 } else { MOST_ITEMS / 2 })
            .cloned()
            .collect(),
        _ => match inner {
            Some(inner) => list.iter().map(|item| edge(inner, item, draws)).collect(),
            None => list.to_vec(),
        },
    }
}

fn fresh_items(variant: &Variant, draws: &mut Draws) -> Vec<Value> {
    (0..length(variant, draws))
        .map(|_| fresh(&variant.inner[0], draws))
        .collect()
}

fn fresh_pair(variant: &Variant, draws: &mut Draws) -> (Value, Value) {
    (
        fresh(&variant.inner[0], draws),
        fresh(&variant.inner[1], draws),
    )
}

/// A length like those of the gold values, or a little beyond them.
fn length(variant: &Variant, draws: &mut Draws) -> usize {
    let length_of = |value: &Value| match value {
        Value::Dict(pairs) => pairs.len(),
        other => items(other).len(),
    };
    let longest = variant.seen.iter().map(length_of).max().unwrap_or(5);
    match draws.pick(&variant.seen) {
        Some(seen) if draws.one_in(2) => length_of(seen),
        _ => draws.below((longest + 3).min(MOST_ITEMS)),
    }
}

/// The least and the greatest number seen, a little widened.
fn bounds(variant: &Variant) -> (i64, i64) {
    let whole = |value: &Value| match value {
        Value::Int(i) => i.to_i64(),
        Value::Float(f) if f.abs() < 1e15 => Some(*f as i64),
        _ => None,
    };
    let seen: Vec<i64> = variant.seen.iter().filter_map(whole).collect();
    match (seen.iter().min(), seen.iter().max()) {
        (Some(&least), Some(&most)) => (least.saturating_sub(2), most.saturating_add(3)),
        _ => (-5, 12),
    }
}

fn number_in_range(variant: &Variant, draws: &mut Draws) -> i64 {
    let (least, most) = bounds(variant);
    // Gold numbers are small but for one or two: without this, small ones would hardly be drawn.
    match draws.below(3) {
        0 => draws.between(least.max(-3), most.min(12)),
        1 => draws.between(least.max(-100), most.min(100)),
        _ => draws.between(least, most),
    }
}

fn near(i: &BigInt, variant: &Variant, draws: &mut Draws) -> BigInt {
    let sign = if draws.one_in(2) { 1 } else { -1 };
    match draws.below(12) {
        0..=2 => i + sign,
        3 | 4 => i + sign * draws.between(2, 6),
        5 => -i,
        6 => BigInt::from(draws.between(0, 1)),
        7 => i * 2,
        8 => i / 2,
        9 => match draws.pick(&variant.seen) {
            Some(Value::Int(seen)) => seen.clone(),
            _ => i + 1,
        },
        _ => number_in_range(variant, draws).into(),
    }
}

fn near_float(f: f64, variant: &Variant, draws: &mut Draws) -> f64 {
    let changed = match draws.below(9) {
        0 => f + 1.0,
        1 => f - 1.0,
        2 => f + 0.5,
        3 => -f,
        4 => 0.0,
        5 => f * 2.0,
        6 => f / 2.0,
        7 => f + 0.1,
        _ => number_in_range(variant, draws) as f64,
    };
    // Few digits: an input that a person could have written.
    if changed.abs() < 1e9 {
        (changed * 1000.0).round() / 1000.0
    } else {
        changed
    }
}

fn strings(variant: &Variant) -> Vec<&str> {
    let texts = variant.seen.iter().filter_map(|value| match value {
        Value::Str(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

pub(super) fn unique(mut list: Vec<Value>) -> Vec<Value> {
    while let Some(at) = first_repeat(&list) {
        list.remove(at);
    }
    list
}

fn unique_keys(mut pairs: Vec<(Value, Value)>) -> Vec<(Value, Value)> {
    let mut keys: Vec<Value> = pairs.iter().map(|pair| pair.0.clone()).collect();
    while let Some(at) = first_repeat(&keys) {
        keys.remove(at);
        pairs.remove(at);
    }
    pairs
}
