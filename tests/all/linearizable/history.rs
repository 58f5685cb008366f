//! What clients asked and were answered, and whether some order of it explains all answers.

use std::collections::HashMap;

/// One call on one stream, or on the whole log. Times are nanoseconds since the run began.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who asked, and which part of the question this is.
    pub client: (u64, u64),
    pub invoked: u64,
    /// None where the answer never came: it may have been made at any time since, or never.
    pub answered: Option<u64>,
    pub ask: Ask,
}

/// What was asked, and the answer if there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To append one event, perhaps only to a stream of this version.
    Append { event: u64, expected: Option<u64>, answer: Option<Appended> },
    /// How long the stream is, and its last events.
    Read { version: u64, last: Vec<u64> },
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The event has this version.
    At(u64),
    /// The stream has this one instead of the expected.
    Refused(u64),
}

/// Whether calls on one stream are linearizable, given what the stream holds in the end: each call
/// must have a moment between its question and its answer so that, made at those moments one after
/// the other, all are answered as they were.
///
/// Versions are dense and events unique, so the end tells the order of the appends, and every
/// answer the version that it was made at. What is left is whether moments `t_1 <= t_2 <= ...` can
/// be chosen for the versions: version `v` cannot be there before its append began and after
/// somebody was answered that it was, nor before somebody began to ask who saw less. The earliest
/// moments that allow the former satisfy the latter if any do.
pub fn linearizable(calls: &[Call], order: &[u64]) -> Result<(), String> {
    let mut versions: HashMap<u64, u64> = HashMap::new();
    for (version, event) in (1..).zip(order) {
        if versions.insert(*event, version).is_some() {
            return Err(format!("event {event} is there twice"));
        }
    }
    // By version: not before, not after. The first is the empty stream, which was always there.
    let mut bounds = vec![(0, u64::MAX); order.len() + 1];
    let mut appended = vec![false; order.len() + 1];
    for call in calls {
        let (answered, wrong) =
            (call.answered.unwrap_or(u64::MAX), |why| Err(format!("{why}: {call:?}")));
        let seen = match &call.ask {
            Ask::Append { event, expected, answer } => match (versions.get(event), answer) {
                (Some(_), Some(Appended::Refused(_))) => return wrong("refused, and there"),
                (None, Some(Appended::At(_))) => return wrong("lost"),
                (Some(version), Some(Appended::At(said))) if version != said => {
                    return wrong("moved");
                }
                (Some(version), _) if expected.is_some_and(|e| e + 1 != *version) => {
                    return wrong("appended to another version than was expected");
                }
                (Some(version), _) => {
                    let at = index(*version);
                    bounds[at].0 = bounds[at].0.max(call.invoked);
                    bounds[at].1 = bounds[at].1.min(answered);
                    appended[at] = true;
                    continue;
                }
                (None, Some(Appended::Refused(actual)))
                    if expected.is_none_or(|e| e == *actual) =>
                {
                    return wrong("refused for nothing");
                }
                (None, Some(Appended::Refused(actual))) => *actual,
                (None, None) => continue,
            },
            Ask::Read { version, last } => {
                let end = index(*version);
                let is_so = end.checked_sub(last.len()).and_then(|from| order.get(from..end));
                if is_so != Some(last) {
                    return wrong("read what is not there");
                }
                *version
            }
        };
        let at = index(seen);
        if at >= bounds.len() {
            return wrong("beyond the end");
        }
        bounds[at].1 = bounds[at].1.min(answered);
        if let Some(next) = bounds.get_mut(at + 1) {
            next.0 = next.0.max(call.invoked);
        }
    }
    if let Some(nobodys) = appended.iter().skip(1).position(|known| !known) {
        return Err(format!("nobody appended version {}", nobodys + 1));
    }
    ordered(&bounds)
}

/// Whether moments in order can be chosen between the bounds. Whoever saw a version saw all before
/// it, and whoever did not see one saw none after it.
fn ordered(bounds: &[(u64, u64)]) -> Result<(), String> {
    let mut latest: Vec<u64> = bounds.iter().map(|(_, latest)| *latest).collect();
    for at in (1..latest.len()).rev() {
        latest[at - 1] = latest[at - 1].min(latest[at]);
    }
    let mut moment = 0;
    for (version, ((earliest, _), latest)) in bounds.iter().zip(latest).enumerate() {
        moment = moment.max(*earliest);
        if moment > latest {
            return Err(format!("version {version} was seen at {latest} and not yet at {moment}"));
        }
    }
    Ok(())
}

fn index(version: u64) -> usize {
    usize::try_from(version).expect("fits")
}
