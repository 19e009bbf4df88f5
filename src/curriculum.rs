//! Which problems to train on: those that are solved now and then, for only groups that differ teach anything.
//!
//! A group of rollouts with pass rate p differs with a chance that grows with p (1 - p). The curriculum keeps a moving
//! pass rate for each topic (a family, a difficulty, a depth of composition: whatever the caller names) and weighs
//! topics by it. Every topic keeps some weight, so that none is lost sight of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Moving pass rates by topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Curriculum {
    pass_rates: BTreeMap<String, f64>,
}

impl Curriculum {
    /// Share of the newest pass rate in the moving one.
    const NEWEST: f64 = 0.2;

    /// Weight of a topic that is always or never solved, where one that is solved half the time weighs 1.
    const FLOOR: f64 = 0.1;

    /// Takes in the pass rate of a group of rollouts.
    pub fn observe(&mut self, topic: &str, pass_rate: f64) {
        match self.pass_rates.get_mut(topic) {
            Some(moving) => *moving += Self::NEWEST * (pass_rate - *moving),
            None => _ = self.pass_rates.insert(topic.to_owned(), pass_rate),
        }
    }

    /// The moving pass rate of a topic, once it was observed.
    pub fn pass_rate(&self, topic: &str) -> Option<f64> {
        self.pass_rates.get(topic).copied()
    }

    /// The weight of a topic, 1 at most. One that was never tried weighs 1.
    pub fn weight(&self, topic: &str) -> f64 {
        let pass_rate = self.pass_rate(topic).unwrap_or(0.5);
        Self::FLOOR + (1.0 - Self::FLOOR) * 4.0 * pass_rate * (1.0 - pass_rate)
    }

    /// The index of a topic drawn by weight, from a number drawn evenly between 0 and 1. None without topics.
    pub fn draw(&self, topics: &[&str], uniform: f64) -> Option<usize> {
        let weights: Vec<f64> = topics.iter().map(|topic| self.weight(topic)).collect();
        let mut left = uniform * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return Some(index);
            }
        }
        // A draw of 1, or rounding.
        topics.len().checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_solved_half_the_time_weigh_most() {
        let mut curriculum = Curriculum::default();
        for (topic, pass_rate) in [
            ("never", 0.0),
            ("seldom", 0.25),
            ("half", 0.5),
            ("always", 1.0),
        ] {
            curriculum.observe(topic, pass_rate);
        }
        for (topic, by_hand) in [
            ("never", 0.1),
            ("seldom", 0.775),
            ("half", 1.0),
            ("always", 0.1),
            ("untried", 1.0),
        ] {
            assert!(
                (curriculum.weight(topic) - by_hand).abs() < 1e-12,
                "{topic}"
            );
        }
    }

    #[test]
    fn rates_move_towards_what_is_observed() {
        let mut curriculum = Curriculum::default();
        curriculum.observe("a", 0.0);
        curriculum.observe("a", 1.0);
        assert_eq!(curriculum.pass_rate("a"), Some(0.2));
        let json = serde_json::to_string(&curriculum).unwrap();
        assert_eq!(json, r#"{"a":0.2}"#);
        assert_eq!(
            serde_json::from_str::<Curriculum>(&json).unwrap(),
            curriculum
        );
    }

    #[test]
    fn draws_follow_the_weights() {
        let mut curriculum = Curriculum::default();
        curriculum.observe("rare", 0.0);
        let draw = |uniform| curriculum.draw(&["rare", "new", "rare"], uniform);
        // Weights 0.1, 1, 0.1 of 1.2 in all.
        for (uniform, index) in [
            (0.0, 0),
            (0.08, 0),
            (0.09, 1),
            (0.9, 1),
            (0.92, 2),
            (1.0, 2),
        ] {
            assert_eq!(draw(uniform), Some(index), "{uniform}");
        }
        assert_eq!(curriculum.draw(&[], 0.5), None);
    }
}
