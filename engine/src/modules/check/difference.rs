//! Whether two answers are the same, and where they part.

use crate::runtime::{GuestError, State};

/// Failures of the guest's code are the same whatever they say.
pub(super) fn is_same<T: PartialEq>(a: &Result<T, GuestError>, b: &Result<T, GuestError>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => a == b,
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// How two states differ, if they do.
pub(super) fn difference_of(a: Option<&State>, b: Option<&State>) -> Option<String> {
    let text = |state: Option<&State>| match state {
        None => "no state".to_owned(),
        Some(State::Json(json)) => json.clone(),
        Some(State::Bytes(bytes)) => format!("{bytes:02x?}"),
    };
    (a != b).then(|| difference(&text(a), &text(b)))
}

/// Where two texts part, with some of what is around.
pub(super) fn difference(a: &str, b: &str) -> String {
    const AROUND: usize = 40;
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| {
        text.chars().skip(same.saturating_sub(AROUND)).take(2 * AROUND).collect::<String>()
    };
    format!("from character {same} on, {:?} against {:?}", part(a), part(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_with_what_is_around() {
        let (a, b) = ("x".repeat(100) + "1y", "x".repeat(100) + "2y");
        let said = difference(&a, &b);
        assert!(said.starts_with("from character 100 on, "), "{said}");
        assert!(said.contains("x1y") && said.contains("x2y") && said.len() < 200, "{said}");
        let state = |json: &str| State::Json(json.to_owned());
        assert_eq!(difference_of(Some(&state("1")), Some(&state("1"))), None);
        assert!(difference_of(Some(&state("1")), None).is_some());
    }
}
