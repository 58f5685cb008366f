//! A panic while one request is answered is that request's problem and nobody else's; its text
//! stays in the server's log.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use super::error::Problem;

/// What the work answers, or a problem if it panicked.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Problem> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Problem::internal(&format!("a request panicked: {text}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_that_does_not_tell() {
        let answer: Result<(), _> = caught(async { panic!("secret") }).await;
        let problem = answer.expect_err("panicked");
        let text = String::from_utf8(problem.to_json(None)).expect("JSON");
        assert!(text.contains("\"internal\"") && !text.contains("secret"), "{text}");
        assert_eq!(caught(async { 7 }).await.expect("no panic"), 7);
    }
}
