//! Everything a decision may know besides its state and its command.

use crate::bindings::types;

/// The only time, randomness and identity a decision gets. All of it is recorded with the decision,
/// so that it can be made again.
#[derive(Clone, Debug)]
pub struct Context {
    /// The stream decided on, such as `account-42`.
    pub stream_id: String,
    /// The stream's version before the decision; 0 is before the first event.
    pub stream_version: u64,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
    /// Where all randomness comes from; see [`Context::random`].
    pub seed: u64,
    /// The conversation this belongs to.
    pub correlation_id: String,
    /// The direct cause.
    pub causation_id: String,
    /// Who asks, if it is known.
    pub caller: Option<String>,
    /// What the engine adds beyond the above, as JSON text.
    pub extra: String,
}

impl Context {
    /// The stream's id without its category: `42` of `account-42`.
    pub fn id(&self) -> &str {
        self.stream_id.split_once('-').map_or("", |(_category, id)| id)
    }

    /// Random numbers, the same each time this decision is made. Not for secrets.
    pub fn random(&self) -> Random {
        Random(self.seed)
    }
}

impl From<types::Context> for Context {
    fn from(context: types::Context) -> Self {
        Self {
            stream_id: context.stream_id,
            stream_version: context.stream_version,
            now_ms: context.now_ms,
            seed: context.seed,
            correlation_id: context.correlation_id,
            causation_id: context.causation_id,
            caller: context.caller,
            extra: context.extra,
        }
    }
}

/// An endless sequence of random numbers, given by its seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The next number, any `u64` with equal chance.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
