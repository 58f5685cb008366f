//! The checkers themselves: what they let pass, and that they agree about what they do not.

use super::history::{Appended, Ask, Call, linearizable};
use super::independent;
use crate::harness::Random;

/// A history as correct clients of a correct stream see it: every call has a moment between its
/// question and its answer at which it was made. Answers the calls and the events in their order.
fn correct(random: &Random, size: u64) -> (Vec<Call>, Vec<u64>) {
    let clients = 1 + random.below(4);
    let mut free_at = vec![0; usize::try_from(clients).expect("fits")];
    let mut moments: Vec<(u64, u64, u64, u64)> = (0..size)
        .map(|_| {
            let client = random.below(clients);
            let free = &mut free_at[usize::try_from(client).expect("fits")];
            let invoked = *free + 1 + random.below(20);
            let moment = invoked + random.below(30);
            let answered = moment + random.below(30);
            *free = answered;
            (moment, invoked, answered, client)
        })
        .collect();
    moments.sort_unstable();
    let mut order: Vec<u64> = Vec::new();
    let mut calls = Vec::new();
    for (event, (_, invoked, answered, client)) in (1..).zip(moments) {
        let version = order.len() as u64;
        let mut answered = Some(answered);
        let ask = if random.below(2) == 0 {
            Ask::Read { version, last: order.clone() }
        } else {
            let expected = (random.below(2) == 0).then(|| version.saturating_sub(random.below(2)));
            let fits = expected.is_none_or(|expected| expected == version);
            // An answer may be lost with what was asked, or without.
            let is_lost = random.below(8) == 0;
            if is_lost {
                answered = None;
            }
            let is_made = fits && (!is_lost || random.below(2) == 0);
            if is_made {
                order.push(event);
            }
            let told = if fits { Appended::At(version + 1) } else { Appended::Refused(version) };
            Ask::Append { event, expected, answer: answered.map(|_| told) }
        };
        calls.push(Call { client: (client, 0), invoked, answered, ask });
    }
    // Who lost an answer asks no more: so no client has two calls under way.
    (only_until_lost(calls), order)
}

fn only_until_lost(mut calls: Vec<Call>) -> Vec<Call> {
    for call in &mut calls {
        // Far from every other client.
        if call.answered.is_none() {
            call.client.1 = call.invoked;
        }
    }
    calls
}

/// Changes one answer, one time or one event.
fn planted(random: &Random, calls: &mut [Call], order: &mut Vec<u64>) {
    let at = usize::try_from(random.below(calls.len() as u64)).expect("fits");
    let (other, fault) = (random.below(order.len() as u64 + 1), random.below(6));
    let place = usize::try_from(other).expect("fits");
    match (&mut calls[at], fault) {
        // A stale read, or one of the future.
        (Call { ask: Ask::Read { version, last }, .. }, 0..=2) => {
            *version = other;
            *last = order[..place].to_vec();
        }
        // An answer that says another version.
        (Call { ask: Ask::Append { answer: Some(answer), .. }, .. }, 0..=1) => {
            *answer = match *answer {
                Appended::At(_) => Appended::At(other.max(1)),
                Appended::Refused(_) => Appended::Refused(other),
            };
        }
        // A lost update, and a duplicate.
        (_, 3) if place < order.len() => drop(order.remove(place)),
        (_, 4) if place < order.len() => order.push(order[place]),
        // Two events in the wrong order.
        (_, 5) if place + 1 < order.len() => order.swap(place, place + 1),
        // Asked later than it was.
        (call, _) => {
            let length = call.answered.map(|answered| answered - call.invoked);
            call.invoked += 100;
            call.answered = length.map(|length| call.invoked + length);
            call.client.1 = u64::MAX;
        }
    }
}

#[test]
fn the_checkers_pass_what_is_right_and_agree_on_what_is_not() {
    let random = Random::from_time();
    let (mut wrong, mut harmless) = (0, 0);
    for round in 0..4_000 {
        let (mut calls, mut order) = correct(&random, 1 + random.below(9));
        linearizable(&calls, &order).unwrap_or_else(|why| panic!("{round}: {why}: {calls:#?}"));
        assert!(independent::linearizable(&calls, &order), "{round}: {calls:#?} {order:?}");
        planted(&random, &mut calls, &mut order);
        let said = linearizable(&calls, &order);
        let same = said.is_ok() == independent::linearizable(&calls, &order);
        assert!(same, "{round}: {said:?}: {calls:#?} {order:?}");
        if said.is_ok() { harmless += 1 } else { wrong += 1 }
    }
    eprintln!("{wrong} wrong histories, {harmless} that a fault left right");
    assert!(wrong > 1_000 && harmless > 100);
}
