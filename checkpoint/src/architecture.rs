//! Whether a state dict fits a model, told layer by layer.

use std::collections::HashMap;
use std::fmt;

/// How many differences are written out; the rest are counted.
const SHOWN: usize = 20;

/// A tensor's name and shape.
pub type NamedShape = (String, Vec<i64>);

/// One way in which a state dict does not fit a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The model has this tensor, the checkpoint has not.
    Missing {
        /// The tensor's name.
        name: String,
        /// Its shape in the model.
        expected: Vec<i64>,
    },
    /// The checkpoint has this tensor, the model has not.
    Unexpected {
        /// The tensor's name.
        name: String,
        /// Its shape in the checkpoint.
        found: Vec<i64>,
    },
    /// Both have it, in different shapes.
    Shape {
        /// The tensor's name.
        name: String,
        /// Its shape in the model.
        expected: Vec<i64>,
        /// Its shape in the checkpoint.
        found: Vec<i64>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, expected } => {
                write!(f, "{name}: missing, the model has {expected:?}")
            }
            Self::Unexpected { name, found } => {
                write!(f, "{name}: unexpected, the checkpoint has {found:?}")
            }
            Self::Shape {
                name,
                expected,
                found,
            } => {
                write!(f, "{name}: shape {found:?}, the model has {expected:?}")
            }
        }
    }
}

/// The checkpoint belongs to another architecture: every layer that differs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ArchitectureMismatch {
    /// Where the weights came from, as a person would name it.
    pub source_name: String,
    /// The differences, in the model's order, unexpected tensors last.
    pub differences: Vec<Difference>,
}

impl fmt::Display for ArchitectureMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.differences.len();
        let (noun, verb) = if count == 1 {
            ("tensor", "differs")
        } else {
            ("tensors", "differ")
        };
        write!(
            f,
            "{} has another architecture: {count} {noun} {verb}",
            self.source_name
        )?;
        for difference in self.differences.iter().take(SHOWN) {
            write!(f, "\n  {difference}")?;
        }
        match count.saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  .. and {more} more"),
        }
    }
}

/// Checks that `found` holds exactly the tensors of `expected`, in any order.
///
/// `source_name` says in the error where `found` came from.
pub fn check_architecture(
    source_name: &str,
    expected: &[NamedShape],
    found: &[NamedShape],
) -> Result<(), ArchitectureMismatch> {
    let mut left: HashMap<&str, &[i64]> = found
        .iter()
        .map(|(name, shape)| (name.as_str(), shape.as_slice()))
        .collect();
    let mut differences: Vec<Difference> = Vec::new();
    for (name, shape) in expected {
        match left.remove(name.as_str()) {
            None => differences.push(Difference::Missing {
                name: name.clone(),
                expected: shape.clone(),
            }),
            Some(other) if other != shape => differences.push(Difference::Shape {
                name: name.clone(),
                expected: shape.clone(),
                found: other.to_vec(),
            }),
            Some(_) => {}
        }
    }
    differences.extend(
        found
            .iter()
            .filter(|(name, _)| left.contains_key(name.as_str()))
            .map(|(name, shape)| Difference::Unexpected {
                name: name.clone(),
                found: shape.clone(),
            }),
    );
    if differences.is_empty() {
        Ok(())
    } else {
        Err(ArchitectureMismatch {
            source_name: source_name.into(),
            differences,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(list: &[(&str, &[i64])]) -> Vec<NamedShape> {
        list.iter()
            .map(|(name, shape)| (name.to_string(), shape.to_vec()))
            .collect()
    }

    #[test]
    fn order_does_not_matter_and_every_difference_is_named() {
        let model = shapes(&[("a", &[2, 3]), ("b", &[4]), ("c", &[])]);
        let same = shapes(&[("c", &[]), ("a", &[2, 3]), ("b", &[4])]);
        assert_eq!(check_architecture("x", &model, &same), Ok(()));

        let other = shapes(&[("a", &[3, 2]), ("c", &[]), ("d", &[7])]);
        let text = check_architecture("best", &model, &other)
            .unwrap_err()
            .to_string();
        assert_eq!(
            text,
            "best has another architecture: 3 tensors differ\n  \
             a: shape [3, 2], the model has [2, 3]\n  \
             b: missing, the model has [4]\n  \
             d: unexpected, the checkpoint has [7]"
        );
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let model: Vec<NamedShape> = (0..33).map(|i| (format!("layer.{i}"), vec![i])).collect();
        let text = check_architecture("x", &model, &[])
            .unwrap_err()
            .to_string();
        assert_eq!(text.lines().count(), 1 + SHOWN + 1);
        assert!(text.ends_with(".. and 13 more"), "{text}");
    }
}
