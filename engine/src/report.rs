//! Where the outermost commands write what people read: plain lines, tables, and nothing else.
//!
//! A reader that went away (a closed pipe) wants no more lines: that is no error.

use std::fmt::Display;
use std::io::Write;

/// Writes lines for people.
pub struct Report {
    out: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Report")
    }
}

impl Report {
    /// Lines on standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(std::io::stdout())
    }

    /// Lines on a writer of the caller's.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out) }
    }

    /// One line.
    pub fn line(&mut self, text: impl Display) {
        // See the module's text: nobody is left to tell.
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }

    /// An empty line and a title.
    pub fn heading(&mut self, title: impl Display) {
        self.line(format_args!("\n{title}"));
    }

    /// One line under a heading.
    pub fn item(&mut self, text: impl Display) {
        self.line(format_args!("  {text}"));
    }
}

/// A whole number with separators: 18,262.
#[must_use]
pub fn grouped(number: impl Into<i64>) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate or another number whose fraction says nothing, with separators.
#[must_use]
pub fn rounded(number: f64) -> String {
    grouped(format!("{number:.0}").parse::<i64>().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(18_262), "18,262");
        assert_eq!(grouped(-1_234_567), "-1,234,567");
        assert_eq!(rounded(52_345.6), "52,346");
    }
}
