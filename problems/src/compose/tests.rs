//! What the module promises about its pools, proved on drafts.

use std::collections::{BTreeMap, HashSet};

use super::names::HELD_WORDS;
use super::names::Names;
use super::op::Op;
use super::splits::Share;
use super::*;

const SEED: u64 = 11;

/// Drafts enough to show a phrase that has no right to be there.
const TRAIN_DRAFTS: u64 = 20_000;

fn drafts(pool: Pool, count: u64) -> impl Iterator<Item = (Plan, Wording)> {
    (0..count).map(move |index| {
        let (plan, wording, _) = Composer::new(SEED).compose(pool, index);
        (plan, wording)
    })
}

/// Whether `text` holds the fixed parts of a frame, from its beginning, in order.
fn has_frame(text: &str, frame: &str) -> bool {
    let mut rest = text;
    for (index, part) in frame.split(['{', '}']).enumerate() {
        // Every second part is the name of a slot.
        if index % 2 == 1 || part.is_empty() {
            continue;
        }
        match rest.find(part) {
            Some(at) if index > 0 || at == 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    true
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphabetic())
        .any(|part| part == word)
}

#[test]
fn training_never_shows_what_is_held_out() {
    // All that is found, once each, so that one run names every phrase to mend.
    let mut found = BTreeMap::new();
    for (plan, wording) in drafts(Pool::Train, TRAIN_DRAFTS) {
        let statement = &wording.statement;
        let composition: Vec<&Op> = plan.ops().collect();
        assert_eq!(Share::of(composition), Share::Train, "{statement}");
        for (kind, form) in wording::held_forms(&plan, &wording.names) {
            if statement.to_lowercase().contains(&form) {
                found.insert(format!("{kind}: {form}"), statement.clone());
            }
        }
        for frame in frames::HELD {
            if has_frame(statement, frame) {
                found.insert((*frame).to_owned(), statement.clone());
            }
        }
        for word in HELD_WORDS {
            if has_word(&wording.names.function, word) || has_word(statement, word) {
                found.insert((*word).to_owned(), statement.clone());
            }
        }
    }
    assert!(found.is_empty(), "held out, yet trained on: {found:#?}");
}

#[test]
fn held_out_compositions_are_where_they_belong() {
    for (pool, share) in [
        (Pool::Validation, Share::Validation),
        (Pool::UnseenCompositions, Share::Report),
    ] {
        for (plan, wording) in drafts(pool, 1000) {
            assert_eq!(Share::of(plan.ops()), share, "{}", wording.statement);
            assert!(plan.depth() >= 2);
            assert!(
                HELD_WORDS
                    .iter()
                    .all(|word| !has_word(&wording.names.function, word))
            );
            assert!(
                frames::HELD
                    .iter()
                    .all(|frame| !has_frame(&wording.statement, frame))
            );
            assert!(!wording.bare);
        }
    }
}

#[test]
fn unseen_wordings_hold_held_out_phrases_frames_and_names_only() {
    for (plan, wording) in drafts(Pool::UnseenWordings, 2000) {
        let statement = &wording.statement;
        assert_eq!(Share::of(plan.ops()), Share::Train, "{statement}");
        let forms = wording::held_forms(&plan, &wording.names);
        for op in plan.ops() {
            let mut own = forms.iter().filter(|(kind, _)| *kind == op.kind);
            assert!(
                own.any(|(_, form)| statement.to_lowercase().contains(form)),
                "{}: {statement}",
                op.kind
            );
        }
        assert!(
            frames::HELD.iter().any(|frame| has_frame(statement, frame)),
            "{statement}"
        );
        assert!(
            HELD_WORDS
                .iter()
                .any(|word| has_word(&wording.names.function, word)),
            "{statement}"
        );
    }
}

#[test]
fn unseen_wordings_are_made_of_words_that_training_shows() {
    let words = |statement: &str, names: &Names| -> Vec<String> {
        let text = statement.replace(&names.function, " ");
        let words = text
            .split(|c: char| !c.is_alphanumeric())
            .map(str::to_lowercase);
        words
            .filter(|word| !word.is_empty() && word.parse::<i64>().is_err())
            .collect()
    };
    let seen: HashSet<String> = drafts(Pool::Train, TRAIN_DRAFTS)
        .flat_map(|(_, wording)| words(&wording.statement, &wording.names))
        .collect();
    for (_, wording) in drafts(Pool::UnseenWordings, 4000) {
        for word in words(&wording.statement, &wording.names) {
            assert!(
                seen.contains(&word),
                "{word:?} is unknown: {}",
                wording.statement
            );
        }
    }
}

#[test]
fn a_draft_depends_on_seed_pool_and_index_alone() {
    let draft = |seed, pool, index| Composer::new(seed).draft(pool, index);
    let first = draft(3, Pool::Train, 5);
    draft(3, Pool::Train, 4);
    assert_eq!(draft(3, Pool::Train, 5), first);
    for other in [
        draft(4, Pool::Train, 5),
        draft(3, Pool::Validation, 5),
        draft(3, Pool::Train, 6),
    ] {
        assert_ne!(other.problem.statement, first.problem.statement);
    }
}

#[test]
fn drafts_pass_the_schema_and_keep_their_bounds() {
    for pool in Pool::ALL {
        for index in 0..1500 {
            let Draft { problem, inputs } = Composer::new(SEED).draft(pool, index);
            if let Err(flaw) = problem.check_draft() {
                panic!("{}: {flaw}", problem.id);
            }
            assert!(
                (8..=14).contains(&inputs.len()),
                "{}: {} inputs",
                problem.id,
                inputs.len()
            );
            assert!(
                trace::pieces(&stages(&problem).join("\n")) <= trace::MAX_PIECES,
                "{}",
                problem.id
            );
            assert_eq!(
                problem.reference.as_deref(),
                Some(stages(&problem)[4].as_str())
            );
            assert_eq!(
                usize::from(problem.difficulty.unwrap()),
                composition(&problem).split('+').count()
            );
            let text = stages(&problem).concat() + &problem.statement;
            for slot in [
                "{k}", "{j}", "{e}", "{n}", "{one}", "{c}", "{a}", "{v}", "{u}", "{y}", "{in}",
                "~", "  ,",
            ] {
                assert!(!text.contains(slot), "{}: {slot} in {text}", problem.id);
            }
        }
    }
}

#[test]
fn every_operation_is_worded_in_full() {
    let mut kinds = HashSet::new();
    for op in ops::all() {
        assert!(kinds.insert(op.kind), "{} is there twice", op.kind);
        let says = dice::alternatives(op.says);
        let held = dice::alternatives(op.held);
        assert_eq!(held.len(), 2, "{}", op.kind);
        assert!(says.len() + held.len() >= 4, "{}", op.kind);
        assert!(
            held.iter().all(|phrase| !says.contains(phrase)),
            "{}",
            op.kind
        );
        assert!(dice::alternatives(op.why).len() >= 3, "{}", op.kind);
        for text in [op.word, op.canon, op.asks, op.step, op.arrow, op.expr] {
            assert!(!text.is_empty(), "{}", op.kind);
        }
        for phrase in says.iter().chain(&held) {
            for (index, slot) in ["{k}", "{j}"].into_iter().enumerate() {
                assert_eq!(
                    phrase.contains(slot),
                    op.params.len() > index,
                    "{}: {phrase}",
                    op.kind
                );
            }
        }
        for kind in op.equals.split(' ').filter(|kind| !kind.is_empty()) {
            assert!(ops::all().any(|op| op.kind == kind), "{kind}");
        }
    }
}

fn stages(problem: &Problem) -> &[String; 5] {
    problem.trace.as_ref().expect("compositions have traces")
}
