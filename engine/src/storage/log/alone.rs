//! Records that are appended by themselves, on top of no other: activations and acts.

use tokio::sync::oneshot;

use super::{AppendError, Appended, Log, Submission, Work};
use crate::decision::format::parse_header;
use crate::decision::{Draft, Header};

impl Log {
    /// Makes a record durable and answers its header.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append_alone(&self, draft: Draft) -> Result<Header, AppendError> {
        header(self.submit_alone(draft).await)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_alone_blocking(&self, draft: Draft) -> Result<Header, AppendError> {
        header(self.submit_alone(draft).blocking_recv())
    }

    fn submit_alone(&self, draft: Draft) -> oneshot::Receiver<Answer> {
        let (send, answer) = oneshot::channel();
        self.submit(Submission {
            work: Work::Record { draft, expected: None },
            lineages: Vec::new(),
            // Whoever went away wants no answer.
            reply: Box::new(move |answer| drop(send.send(answer))),
        });
        answer
    }
}

/// What the writer answers.
type Answer = Result<Appended, AppendError>;

fn header(answer: Result<Answer, oneshot::error::RecvError>) -> Result<Header, AppendError> {
    let lost = || AppendError::Unknown("the writer ended".into());
    match answer.map_err(|_| lost())?? {
        Appended::Record(bytes) => parse_header(&bytes).map_err(|_| lost()),
        Appended::Barrier => Err(lost()),
    }
}
