//! What a bench's figures must be.

/// Compares figures with what they must be, and remembers those that are not.
#[derive(Debug, Default)]
pub(super) struct Gates {
    /// A sentence for each.
    pub(super) missed: Vec<String>,
}

impl Gates {
    pub(super) fn least(&mut self, name: &str, value: f64, least: f64) {
        // Not a number misses too.
        if value.is_nan() || value < least {
            self.missed.push(format!("{name}: {value:.2}, at least {least:.2}"));
        }
    }

    pub(super) fn most(&mut self, name: &str, value: f64, most: f64) {
        if value.is_nan() || value > most {
            self.missed.push(format!("{name}: {value:.2}, at most {most:.2}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misses_its_gate_is_named_and_nothing_else() {
        let mut gates = Gates::default();
        gates.least("high", 2.0, 2.0);
        gates.least("low", 1.9, 2.0);
        gates.most("few", 2.0, 2.0);
        gates.most("many", 2.1, 2.0);
        gates.least("none", f64::NAN, 2.0);
        gates.most("none", f64::NAN, 2.0);
        let missed = [
            "low: 1.90, at least 2.00",
            "many: 2.10, at most 2.00",
            "none: NaN, at least 2.00",
            "none: NaN, at most 2.00",
        ];
        assert_eq!(gates.missed, missed);
    }
}
