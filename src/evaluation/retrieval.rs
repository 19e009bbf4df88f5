//! Nearest-neighbour retrieval: the baseline that knows every training solution by heart and understands none.

use std::collections::{BTreeMap, HashMap};

use gauntlet_sandbox::Test;

use crate::execution::{Case, Executor};
use crate::problems::Problem;

/// A training problem with its solution.
#[derive(Clone, Debug)]
struct Known {
    entry_point: Option<String>,
    code: String,
    /// Euclidean norm of the TF-IDF vector.
    norm: f64,
}

/// Training solutions, found by the TF-IDF cosine between statements. The types of the signature count as words; names
/// of functions and parameters, which say nothing about the task, do not.
#[derive(Debug, Default)]
pub struct Retriever {
    known: Vec<Known>,
    /// For each word the problems that hold it, with how often.
    postings: HashMap<String, Vec<(u32, f64)>>,
}

impl Retriever {
    /// Indexes `corpus`: the problems that the policy was trained on.
    pub fn new<'a>(corpus: impl IntoIterator<Item = std::borrow::Cow<'a, Problem>>) -> Self {
        let mut retriever = Self::default();
        for problem in corpus {
            let Some(code) = problem.reference.clone() else {
                continue;
            };
            let index = retriever.known.len() as u32;
            for (word, count) in words(&problem) {
                let posting = retriever.postings.entry(word).or_default();
                posting.push((index, count));
            }
            retriever.known.push(Known {
                entry_point: problem.entry_point.clone(),
                code,
                norm: 0.0,
            });
        }
        for posting in retriever.postings.values() {
            let weight = inverse_frequency(posting.len(), retriever.known.len());
            for &(index, count) in posting {
                retriever.known[index as usize].norm += (count * weight).powi(2);
            }
        }
        for known in &mut retriever.known {
            known.norm = known.norm.sqrt();
        }
        retriever
    }

    /// The solution of the training problem whose statement is nearest, ties to the earlier; `None` when nothing shares
    /// a word.
    fn nearest(&self, problem: &Problem) -> Option<&Known> {
        let mut scores: HashMap<u32, f64> = HashMap::new();
        for (word, count) in words(problem) {
            let Some(posting) = self.postings.get(&word) else {
                continue;
            };
            let weight = inverse_frequency(posting.len(), self.known.len());
            for &(index, theirs) in posting {
                *scores.entry(index).or_default() += count * theirs * weight * weight;
            }
        }
        scores
            .into_iter()
            .map(|(index, dot)| (dot / self.known[index as usize].norm.max(1e-12), index))
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
            .map(|(_, index)| &self.known[index as usize])
    }

    /// Whether the nearest training solution passes each problem's gold tests; problems of which execution says nothing are
    /// left out. The solution keeps its own function's name.
    pub fn solve(&self, executor: &Executor, problems: &[Problem]) -> Vec<f64> {
        let retrieved: Vec<(Problem, Option<&str>)> = problems
            .iter()
            .map(|problem| match self.nearest(problem) {
                Some(known) => {
                    let entry_point = known.entry_point.clone();
                    let renamed = Problem {
                        entry_point,
                        ..problem.clone()
                    };
                    (renamed, Some(known.code.as_str()))
                }
                None => (problem.clone(), None),
            })
            .collect();
        let cases: Vec<Case> = retrieved
            .iter()
            .map(|(problem, code)| Case {
                problem,
                code: *code,
                tests: &problem.tests as &[Test],
            })
            .collect();
        executor
            .run(&cases)
            .iter()
            .filter(|run| !run.is_masked())
            .map(|run| f64::from(u8::from(run.passed())))
            .collect()
    }
}

fn inverse_frequency(documents: usize, of: usize) -> f64 {
    (1.0 + of as f64 / documents.max(1) as f64).ln()
}

/// Words of the statement and types of the signature, with how often each comes; in order, so that sums of floats repeat.
fn words(problem: &Problem) -> BTreeMap<String, f64> {
    let signature = problem.wanted_signature();
    let mut named: Vec<&str> = vec![problem.function()];
    let mut counts = BTreeMap::new();
    let mut add = |word: String| *counts.entry(word).or_insert(0.0) += 1.0;
    if let Some(signature) = &signature {
        named.extend(signature.param_names());
        let types = signature.params.iter().map(|p| p.annotation.as_deref());
        for (place, annotation) in types.chain([signature.returns.as_deref()]).enumerate() {
            add(format!("{place}:{}", annotation.unwrap_or("any")));
        }
    }
    let statement = problem.statement.to_lowercase();
    for word in statement.split(|c: char| !c.is_alphanumeric() && c != '_') {
        if !word.is_empty() && !named.contains(&word) {
            add(word.to_owned());
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::problems::compose::{Composer, Pool};

    #[test]
    fn a_known_problem_under_another_name_is_found() {
        let composer = Composer::new(0);
        let draft = |index| composer.draft(Pool::Train, index).problem;
        let retriever = Retriever::new((0..200).map(|i| Cow::Owned(draft(i))));
        let found = (0..200).filter(|&i| {
            let mut asked = draft(i);
            let other = "unheard_of".to_owned();
            let name = asked.entry_point.take().unwrap();
            asked.statement = asked.statement.replace(&name, &other);
            asked.signature = asked.signature.map(|text| text.replace(&name, &other));
            asked.entry_point = Some(other);
            let body = |code: &str| code.split_once('\n').map(|(_, body)| body.to_owned());
            retriever
                .nearest(&asked)
                .is_some_and(|known| body(&known.code) == body(asked.reference.as_deref().unwrap()))
        });
        // A few pairs differ in nothing but the names that do not count.
        assert!(found.count() >= 190);
    }

    #[test]
    fn an_empty_corpus_knows_nothing() {
        let problem = Composer::new(0).draft(Pool::Train, 0).problem;
        assert!(Retriever::new([]).nearest(&problem).is_none());
    }
}
