//! The same question answered by somebody else: stateright's search for an order, which knows only
//! what a stream does when nobody else is there. It takes exponential time, so only for short
//! histories.

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use super::history::{Appended, Ask, Call};

/// A stream by itself.
#[derive(Clone, Debug, Default)]
struct Stream(Vec<u64>);

#[derive(Clone, Debug, PartialEq)]
enum Op {
    Append { event: u64, expected: Option<u64> },
    Read,
}

#[derive(Clone, Debug, PartialEq)]
enum Ret {
    Append(Appended),
    Read(Vec<u64>),
}

impl SequentialSpec for Stream {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        let version = self.0.len() as u64;
        match op {
            Op::Append { expected: Some(expected), .. } if *expected != version => {
                Ret::Append(Appended::Refused(version))
            }
            Op::Append { event, .. } => {
                self.0.push(*event);
                Ret::Append(Appended::At(version + 1))
            }
            Op::Read => Ret::Read(self.0.clone()),
        }
    }
}

/// Whether there is an order of the calls, with one read of everything after them all. Reads must
/// have read everything.
pub fn linearizable(calls: &[Call], order: &[u64]) -> bool {
    // A question before an answer of the same moment: they may have overlapped.
    let mut moments = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        moments.push((call.invoked, 0, index));
        moments.extend(call.answered.map(|answered| (answered, 1, index)));
    }
    moments.sort_unstable();
    let mut tester = LinearizabilityTester::new(Stream::default());
    for (_, kind, index) in moments {
        // A client whose call has no answer goes on as another.
        let (call, thread) = (&calls[index], thread_of(calls, index));
        let (op, ret) = match &call.ask {
            Ask::Append { event, expected, answer } => {
                (Op::Append { event: *event, expected: *expected }, answer.map(Ret::Append))
            }
            Ask::Read { last, .. } => (Op::Read, Some(Ret::Read(last.clone()))),
        };
        let done = match kind {
            0 => tester.on_invoke(thread, op).map(drop),
            _ => tester.on_return(thread, ret.expect("an answer")).map(drop),
        };
        done.expect("one call of a client at a time");
    }
    let last = ((u64::MAX, 0), 0);
    tester.on_invoke(last, Op::Read).expect("a new client");
    tester.on_return(last, Ret::Read(order.to_vec())).expect("it asked");
    tester.is_consistent()
}

/// A client, and how many of its calls before this one had no answer.
fn thread_of(calls: &[Call], index: usize) -> ((u64, u64), usize) {
    let client = calls[index].client;
    let lost = calls.iter().filter(|call| {
        call.client == client && call.answered.is_none() && call.invoked < calls[index].invoked
    });
    (client, lost.count())
}
